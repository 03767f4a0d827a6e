"""What went wrong between here and the hub, as one line that says what to do.

No text of the server's goes into a message: what a server answers may repeat what it was sent, the token too.
"""

from urllib.parse import urlsplit

from sdbuild.sources.base import SourceError
from sdbuild.sources.client import HubClient

_LOG_IN = "set HF_TOKEN, or run `hf auth login`"


def explain(
    error: Exception, client: HubClient, repository: str, revision: str | None, path: str | None
) -> SourceError:
    """The message for an exception of huggingface_hub or its HTTP library; `path` is of the file that was asked for."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    host = urlsplit(client.endpoint).netloc or client.endpoint
    if isinstance(error, HfHubHTTPError):
        why = _refused(error, client, host, repository, revision, path)
    elif isinstance(error, OfflineModeIsEnabled):
        why = f"HF_HUB_OFFLINE forbids to ask {host} for it; unset it, or name a local folder"
    else:
        why = _unreachable(error, host)
    return SourceError(f"{repository}: {why}")


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


def _unreachable(error: Exception, host: str) -> str:
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
