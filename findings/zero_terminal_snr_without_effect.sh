#!/usr/bin/env bash
# A scheduler_config.json that asks for zero terminal SNR, read by schedulers of diffusers other than the one that wrote it.
#
# Guess: `rescale_betas_zero_snr` rescales the betas of every scheduler that accepts it (arXiv:2305.08891, algorithm 1), and one
# that can't do it warns or drops the key; from_config is how users change the scheduler of a pipeline.
# Behaviour: PNDM, LMS and Heun keep the key, and show it in `scheduler.config`, but the betas stay as they were: the last
# cumulative alpha is 0.00466 and not 0, nothing is logged, and a model that was trained for zero SNR is drawn with another
# schedule than its configuration says. Among those that do rescale, DDIM ends at exactly 0, Euler and DPM-Solver++ at 2^-24.
#
# Versions: torch 2.13.0, diffusers 0.42.1. Output:
#   DDIMScheduler: key kept True, last alpha 0.0, logged nothing
#   EulerDiscreteScheduler: key kept True, last alpha 5.960464477539063e-08, logged nothing
#   DPMSolverMultistepScheduler: key kept True, last alpha 5.960464477539063e-08, logged nothing
#   PNDMScheduler: key kept True, last alpha 0.00466, logged nothing
#   LMSDiscreteScheduler: key kept True, last alpha 0.00466, logged nothing
#   HeunDiscreteScheduler: key kept True, last alpha 0.00466, logged nothing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 diffusers==0.42.1 transformers==5.24.0 scipy==1.16.3
cd "$work"
"$work/venv/bin/python" 2>/dev/null >out <<'EOF'
import contextlib
import io
import logging

import diffusers

config = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
}
names = ("DDIM", "EulerDiscrete", "DPMSolverMultistep", "PNDM", "LMSDiscrete", "HeunDiscrete")
diffusers.logging.set_verbosity_warning()
for name in (f"{each}Scheduler" for each in names):
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger("diffusers").addHandler(handler)
    scheduler = getattr(diffusers, name).from_config(config)
    logging.getLogger("diffusers").removeHandler(handler)
    last = scheduler.alphas_cumprod[-1].item()
    kept = scheduler.config.get("rescale_betas_zero_snr")
    shown = round(last, 5) if last > 1e-3 else last
    print(f"{name}: key kept {kept}, last alpha {shown}, logged {log.getvalue().strip() or 'nothing'}")
EOF
cat out
diff out - <<'EOF'
DDIMScheduler: key kept True, last alpha 0.0, logged nothing
EulerDiscreteScheduler: key kept True, last alpha 5.960464477539063e-08, logged nothing
DPMSolverMultistepScheduler: key kept True, last alpha 5.960464477539063e-08, logged nothing
PNDMScheduler: key kept True, last alpha 0.00466, logged nothing
LMSDiscreteScheduler: key kept True, last alpha 0.00466, logged nothing
HeunDiscreteScheduler: key kept True, last alpha 0.00466, logged nothing
EOF
