"""Throw-away certificates for the lab: a CA, server and client certificates, and a CA nobody trusts."""

import pathlib

from net import sh


class Certificates:
    """Paths of PEM files; made when first asked for."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(mode=0o755, exist_ok=True)
        self.ca = self._ca("ca", "Lab CA")
        self.other_ca = self._ca("other-ca", "Some other CA")

    def _ca(self, name, subject):
        path = self.directory / f"{name}.crt"
        if not path.exists():
            sh(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                "30", "-subj", f"/CN={subject}", "-keyout", str(path.with_suffix(".key")), "-out", str(path)])
        return path

    def pair(self, name, *alt_names, common_name=None, rsa=False):
        """(certificate, key) signed by the CA; alt_names such as "DNS:db.lab.internal", "IP:10.77.2.20"."""
        crt, key, csr, ext = (self.directory / f"{name}.{e}" for e in ("crt", "key", "csr", "ext"))
        if not crt.exists():
            kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            sh(["openssl", "req", "-newkey", *kind, "-nodes", "-subj", f"/CN={common_name or name}",
                "-keyout", str(key), "-out", str(csr)])
            ext.write_text(f"subjectAltName={','.join(alt_names)}\n" if alt_names else "")
            sh(["openssl", "x509", "-req", "-in", str(csr), "-CA", str(self.ca), "-CAkey",
                str(self.ca.with_suffix(".key")), "-CAcreateserial", "-days", "30", "-extfile", str(ext),
                "-out", str(crt)])
            key.chmod(0o644)
        return crt, key

    def server(self, rsa=False):
        """The usual server certificate: every lab name and address of the server."""
        return self.pair("server-rsa" if rsa else "server", "DNS:server.lab.internal", "DNS:db.lab.internal",
                         "DNS:*.lab.internal", "IP:10.77.2.20", "IP:fd77::2:20", "IP:10.77.3.30",
                         common_name="db.lab.internal", rsa=rsa)
