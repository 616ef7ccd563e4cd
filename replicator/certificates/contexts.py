"""A TLS context of the standard library, for the admin port; new certificates are loaded into it while it is in use."""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from replicator.certificates.identity import Identity


def server_context(identity: Identity) -> ssl.SSLContext:
    """Shows the certificate, asks for none. Raises ssl.SSLError, OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load(context, identity)
    return context


def load(context: ssl.SSLContext, identity: Identity) -> None:
    """From now on new connections are shown this certificate. On the thread that accepts them."""
    assert identity.key is not None, "a server has a key"
    assert identity.certificate is not None, "and a certificate"
    with _as_file(identity.key + b"\n" + identity.certificate) as name:
        context.load_cert_chain(name)


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """The standard library reads keys from files only. In memory where the system can: a key stays off other disks."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name
