"""The key of localhost by an authority of the test's own, in the key stores that Hadoop reads."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from logpipe.hosts import certificates

PASSWORD = "of a test"


def write(folder: Path) -> dict[str, str]:
    """Write ``ca.pem``, a key store with the key of localhost and a trust store; the templates' values."""
    authority = folder / "ca.key", folder / "ca.pem"
    certificates.authority(*authority)
    certificates.server(folder / "localhost.pem", "localhost", ["localhost", "127.0.0.1"], *authority)
    ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    both = (folder / "localhost.pem").read_bytes()
    key, certificate = serialization.load_pem_private_key(both, None), x509.load_pem_x509_certificate(both)
    locked = serialization.BestAvailableEncryption(PASSWORD.encode())
    store = pkcs12.serialize_key_and_certificates(b"localhost", key, certificate, [ca], locked)
    (folder / "keystore.p12").write_bytes(store)
    trusted = pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(ca, b"authority")], locked)
    (folder / "truststore.p12").write_bytes(trusted)
    return {
        "keystore": str(folder / "keystore.p12"),
        "keystore_password": PASSWORD,
        "truststore": str(folder / "truststore.p12"),
        "truststore_password": PASSWORD,
    }
