"""An authority of the tests' own, and what it signs: as a managed Redis is secured."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_START = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Secured:
    """The files of an authority, a server and a client, and how they are passed on."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    wants_clients: bool = True

    @classmethod
    def make(cls, folder: Path, *, wants_clients: bool = True) -> Self:
        """Make the files; with ``wants_clients`` a server takes only clients with a certificate."""
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(
            folder / "ca.pem",
            folder / "server.pem",
            folder / "server.key",
            folder / "client.pem",
            folder / "client.key",
            wants_clients,
        )
        authority_key = ec.generate_private_key(ec.SECP256R1())
        authority = _signed("tests", authority_key, None, authority_key)
        made.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        for name, certificate, secret in (
            ("localhost", made.server, made.server_key),
            ("client", made.client, made.client_key),
        ):
            key = ec.generate_private_key(ec.SECP256R1())
            signed = _signed(name, key, authority, authority_key)
            certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
            secret.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        return made

    @property
    def of_server(self) -> tuple[str, ...]:
        """What redis-server is started with."""
        return (
            *("--port", "0", "--tls-replication", "yes", "--tls-ca-cert-file", str(self.authority)),
            *("--tls-cert-file", str(self.server), "--tls-key-file", str(self.server_key)),
            *("--tls-auth-clients", "yes" if self.wants_clients else "no"),
        )

    @property
    def of_redis_cli(self) -> tuple[str, ...]:
        """What redis-cli is called with."""
        return (
            *("--tls", "--cacert", str(self.authority)),
            *("--cert", str(self.client), "--key", str(self.client_key)),
        )

    @property
    def of_client(self) -> dict[str, str]:
        """What redis-py is given."""
        return {
            "ssl_ca_certs": str(self.authority),
            "ssl_certfile": str(self.client),
            "ssl_keyfile": str(self.client_key),
        }


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate | None,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_START)
        .not_valid_after(_START + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
