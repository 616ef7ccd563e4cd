"""Explains a failed TLS connection to an operator, from the text of gRPC's error.

A server that does not accept a client's certificate only closes the connection: gRPC sends no alert. What the client
knows of its own certificate then tells the likely reason.
"""

from typing import Final

# What gRPC 1.85 writes; tests/contract/test_grpc_tls_contract.py holds it to that.
OF_THE_OTHER: Final = (
    ("certificate has expired", "the certificate shown there has expired: renew it there"),
    ("certificate is not yet valid", "the certificate shown there is not yet valid, or a clock is wrong"),
    ("unable to get local issuer certificate", "wrong authority: no certificate of ca_file has issued the one shown"),
    ("certificate signature failure", "wrong authority: no certificate of ca_file has issued the one shown"),
    ("unsupported certificate purpose", "the certificate shown there is not for server use (serverAuth)"),
    ("Hostname Verification Check failed", "the certificate shown there is for another name than {name}"),
    ("WRONG_VERSION_NUMBER", "there is no TLS on that port"),
)
_CLOSED: Final = ("Socket closed", "Connection reset", "Broken pipe")


def why_tls_failed(details: str, *, name: str, own_flaw: str | None, has_own: bool) -> str | None:
    """None if it is no matter of certificates, as far as one can see. details: of the failed call.

    name: under which the other side was expected. own_flaw: why the own certificate does not hold, if it does not.
    has_own: this side shows a certificate.
    """
    for said, meaning in OF_THE_OTHER:
        if said in details:
            return meaning.format(name=name)
    if not any(closed in details for closed in _CLOSED):
        return None
    if own_flaw is not None:
        return own_flaw
    if not has_own:
        return "the connection was closed after the TLS handshake: a client certificate may be required there"
    return (
        "the connection was closed after the TLS handshake: the own certificate may be of an authority that is not "
        "trusted there, or not be for client use (clientAuth)"
    )
