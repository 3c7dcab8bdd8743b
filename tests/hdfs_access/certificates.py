"""A certificate authority of a test, and the certificate of localhost by it."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

PASSWORD = "of a test"


def write(folder: Path) -> dict[str, str]:
    """Write ``ca.pem``, a key store with the key of localhost and a trust store; the templates' values."""
    now = datetime.now(UTC)
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Authority of a test")])

    def made(subject: x509.Name, public: ec.EllipticCurvePublicKey, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    ca = made(issuer, authority.public_key(), True).sign(authority, hashes.SHA256())
    here = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    unsigned = made(subject, key.public_key(), False).add_extension(here, critical=False)
    certificate = unsigned.sign(authority, hashes.SHA256())
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
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
