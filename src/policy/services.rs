//! Which managed service a server is, as far as its kind in an inventory and the protocol spoken tell.

/// Kind, protocol (empty: any), remedy. RDS's interfaces serve DocumentDB and Neptune too; MariaDB speaks as MySQL does, and its
/// setting is the same.
const SERVICES: &[(&str, &str, &str)] = &[
    ("rds", "mysql", "rds-mysql"),
    ("rds", "postgresql", "rds-postgresql"),
    ("rds", "tds", "rds-sqlserver"),
    ("rds", "oracle", "rds-oracle"),
    ("rds", "drda", "rds-db2"),
    ("rds", "mongodb", "documentdb"),
    ("rds", "http", "neptune"),
    ("rds", "websocket", "neptune"),
    ("elasticache", "redis", "elasticache-redis"),
    ("elasticache", "memcached", "elasticache-memcached"),
    ("redshift", "postgresql", "redshift"),
    ("dax", "", "dax"),
    ("opensearch", "", "opensearch"),
    ("efs", "", "efs"),
    ("msk", "", "msk"),
    ("directory-service", "ldap", "directory-service"),
    ("alb", "", "alb"),
    ("clb", "", "clb"),
    ("nlb", "", "nlb"),
    ("api-gateway", "", "api-gateway"),
];

/// The remedy of a server of this kind that speaks `app`.
pub(super) fn service(kind: &str, app: Option<&str>) -> Option<&'static str> {
    let fits = |of: &str| of.is_empty() || Some(of) == app;
    SERVICES.iter().find(|(k, of, _)| *k == kind && fits(of)).map(|(_, _, service)| *service)
}

/// How names of RDS tell what an address does not (<https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Overview.Endpoints.html>):
/// part of the name, and the remedies it decides between.
pub(super) const RDS_NAMES: [(&str, &str); 2] =
    [(".proxy-", "rds-proxy"), (".cluster-", "aurora-")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Remedies;

    #[test]
    fn every_service_has_a_remedy() {
        let remedies = Remedies::built_in().unwrap();
        for (kind, app, service) in SERVICES {
            let remedy = remedies.get(service).unwrap_or_else(|| panic!("{kind}: {service}"));
            let speaks = app.is_empty() || remedy.apps.iter().any(|known| known == app);
            assert!(speaks, "{service} does not speak {app}");
        }
        assert_eq!(service("rds", Some("postgresql")), Some("rds-postgresql"));
        assert_eq!(service("rds", None), None);
        assert_eq!(service("ec2-instance", Some("redis")), None);
    }
}
