"""An authority of a deployment's own, and the certificates by which the nodes of its NATS are known."""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LASTS = timedelta(days=3650)
CERTIFICATE_LASTS = timedelta(days=825)
RENEW_BEFORE = timedelta(days=275)
_BACKDATED = timedelta(hours=1)
"""For machines whose clock is a little behind."""


def authority(folder: Path, now: datetime) -> None:
    """Makes `ca.pem` and `ca.key` in `folder` unless they are there."""
    if (folder / "ca.pem").exists() and (folder / "ca.key").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Brownout deployment")])
    made = (
        _builder(name, name, key.public_key(), now, AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    write(folder / "ca.key", _private(key))
    write(folder / "ca.pem", made.public_bytes(serialization.Encoding.PEM))


def certificate(folder: Path, hosts: Sequence[str], signed_by: Path, now: datetime) -> None:
    """Makes `server.pem` and `server.key` for `hosts` in `folder`, beside a copy of `ca.pem`. What is there stays while it is
    for the same hosts, by the same authority, and not near its end."""
    ca = x509.load_pem_x509_certificate((signed_by / "ca.pem").read_bytes())
    if _holds(folder, hosts, ca, now):
        return
    ca_key = serialization.load_pem_private_key((signed_by / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    used = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # nodes call one another
    made = (
        _builder(name, ca.subject, key.public_key(), now, CERTIFICATE_LASTS)
        .add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(used), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    write(folder / "server.key", _private(key))
    write(folder / "server.pem", made.public_bytes(serialization.Encoding.PEM))
    write(folder / "ca.pem", ca.public_bytes(serialization.Encoding.PEM))


def write(file: Path, content: bytes) -> None:
    """Readable by its owner alone, from its first byte on."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.touch(mode=0o600)
    file.write_bytes(content)


def _holds(folder: Path, hosts: Sequence[str], ca: x509.Certificate, now: datetime) -> bool:
    try:
        made = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
        made.verify_directly_issued_by(ca)
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        kept = (folder / "ca.pem").read_bytes() == ca.public_bytes(serialization.Encoding.PEM)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is made anew
        return False
    return kept and list(names) == [_general(host) for host in hosts] and made.not_valid_after_utc - now > RENEW_BEFORE


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lasts)
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
