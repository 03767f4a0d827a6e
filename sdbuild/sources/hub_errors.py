"""What went wrong between here and the hub, as one line that says what to do.

No text of the server's goes into a message: what a server answers may repeat what it was sent, the token too.
"""

from urllib.parse import urlsplit

from sdbuild.errors import printable
from sdbuild.sources.client import HubClient, OddAnswerError
from sdbuild.sources.least_rate import LEAST_RATE, TooSlowError

_LOG_IN = "set HF_TOKEN, or run `hf auth login`"


def explain(error: Exception, client: HubClient, repository: str, revision: str | None, path: str | None) -> str:
    """The message for an exception of huggingface_hub, its HTTP library or the client; ``path`` is of the file asked for."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    host = client.host
    if isinstance(error, HfHubHTTPError):
        other = _elsewhere(error, client)
        return _refused(error, client, host, repository, revision, path) if other is None else other
    if isinstance(error, OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE forbids asking {host} for {path or 'it'}; unset it, or name a local folder"
    if isinstance(error, TooSlowError):
        return (
            f"{host} sent fewer than {LEAST_RATE:,} bytes a second for {client.window:.0f} s, and was given up; check the "
            "network, then build again: what has been fetched is kept"
        )
    if isinstance(error, OddAnswerError):
        return f"{host} {error}"
    asked = _asked(error)
    if asked is None or asked == urlsplit(client.endpoint).hostname:
        return unreachable(error, host)
    return f"{host} redirects to {asked}: {unreachable(error, asked)}"


def _asked(error: Exception) -> str | None:
    """The host that a request was for when it failed."""
    try:
        return printable(error.request.url.host) or None  # type: ignore[attr-defined]
    except RuntimeError:  # it was not yet made
        return None


def _elsewhere(error: Exception, client: HubClient) -> str | None:
    """Of a refusal that is another host's, to which the hub, or who stands in for it, has redirected."""
    from huggingface_hub import errors

    response = error.response  # type: ignore[attr-defined]
    host, other = client.host, printable(response.url.host)
    if client.is_of_hub(response) or response.status_code not in (401, 403):
        return None
    what = "the model is gated there" if isinstance(error, errors.GatedRepoError) else "that host refuses it"
    return (
        f"{host} redirects to {other}, and {what} (status {response.status_code}); a token is sent to {host} alone, never on "
        f"to others: if the model is at home on {other}, ask there (set HF_ENDPOINT to https://{other}), else build again later"
    )


def _refused(
    error: Exception, client: HubClient, host: str, repository: str, revision: str | None, path: str | None
) -> str:
    from huggingface_hub import errors

    status: int = error.response.status_code  # type: ignore[attr-defined]
    page = f"{client.endpoint}/{repository}"
    if isinstance(error, errors.GatedRepoError):
        if client.has_token:
            return f"the model is gated, and your token's account has no access yet; ask for it at {page}"
        return f"the model is gated; accept its terms at {page}, then {_LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"there is no revision '{revision}'; the branches, tags and commits are listed at {page}/commits"
    if isinstance(error, errors.RemoteEntryNotFoundError) or (status == 404 and path is not None):
        return f"there is no {path} at revision '{revision}'; look at {page}/tree/{revision}"
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        if client.has_token:
            return (
                f"{host} has no such model, or your token may not read it; check the name, or ask its owner for access"
            )
        return f"{host} has no such model, or it is private; check the name, and if it is private {_LOG_IN}"
    if isinstance(error, errors.DisabledRepoError):
        return f"the model has been disabled on {host}; name another source"
    if status == 401:
        if client.has_token:
            return f"{host} does not accept your token; make a new one at {client.endpoint}/settings/tokens, then {_LOG_IN}"
        return f"{host} wants to know who you are; {_LOG_IN}"
    if status == 403:
        if client.has_token:
            return f"your token may not read {path or 'the model'}; give it read access to {page}"
        return f"{host} lets only some accounts read {path or 'the model'}; ask at {page}, then {_LOG_IN}"
    if status == 429:
        return f"{host} has had too many requests from here; wait some minutes and build again"
    if status >= 500:
        return f"{host} has trouble of its own (status {status}); build again later: what has been fetched is kept"
    return f"{host} refuses {path or 'to tell about it'} (status {status}); look at {page}"


def unreachable(error: Exception, host: str) -> str:
    """Of a connection that failed."""
    from huggingface_hub.utils import httpx

    again = "then build again: what has been fetched is kept"
    if isinstance(error, httpx.ProxyError):
        return f"the proxy does not let {host} through; check HTTPS_PROXY and NO_PROXY"
    if isinstance(error, httpx.ConnectError):
        # Its text is the system's: "Name or service not known", "Connection refused", a certificate's fault.
        return f"{host} can't be reached ({error}); check network, proxy settings and HF_ENDPOINT, {again}"
    if isinstance(error, httpx.TimeoutException):
        return f"{host} does not answer; check the network, {again}"
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return f"the connection to {host} keeps breaking ({type(error).__name__}); check the network, {again}"
    return f"{host} can't be asked ({type(error).__name__}); check HF_ENDPOINT and the proxy settings"
