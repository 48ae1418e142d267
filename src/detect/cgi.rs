//! What the protocols between a web server and an application share: HTTP fields as CGI variables (RFC 3875).
use super::http::credentials::{self, Field, Found};

/// What a request's variable carries: `HTTP_AUTHORIZATION`, or the field's own name.
pub(super) fn secret(name: &[u8], value: &[u8]) -> Option<Found> {
    let name = name.strip_prefix(b"HTTP_").unwrap_or(name);
    let field = credentials::field(|known| {
        let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a, *b) == (b'-', b'_');
        known.len() == name.len() && known.iter().zip(name).all(same)
    })?;
    field_secret(field, value)
}

/// What a field's value adds.
pub(super) fn field_secret(field: Field, value: &[u8]) -> Option<Found> {
    field.with_value(|word| credentials::begins(value, word)).filter(|_| !value.is_empty())
}

/// Names that requests have.
pub(super) fn is_variable(name: &[u8]) -> bool {
    VARIABLES.contains(&name) || name.starts_with(b"HTTP_")
}

static VARIABLES: &[&[u8]] = &[
    b"QUERY_STRING",
    b"REQUEST_METHOD",
    b"REQUEST_URI",
    b"REQUEST_SCHEME",
    b"CONTENT_TYPE",
    b"CONTENT_LENGTH",
    b"PATH_INFO",
    b"PATH_TRANSLATED",
    b"SCRIPT_NAME",
    b"SCRIPT_FILENAME",
    b"DOCUMENT_URI",
    b"DOCUMENT_ROOT",
    b"SERVER_PROTOCOL",
    b"SERVER_NAME",
    b"SERVER_PORT",
    b"SERVER_ADDR",
    b"SERVER_SOFTWARE",
    b"GATEWAY_INTERFACE",
    b"REMOTE_ADDR",
    b"REMOTE_PORT",
    b"UWSGI_SCHEME",
    b"HTTPS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_carry_what_the_fields_do() {
        let cases: [(&[u8], &[u8], Option<&str>); 5] = [
            (b"HTTP_AUTHORIZATION", b"Basic dTpw", Some("authorization: basic")),
            (b"HTTP_X_API_KEY", b"k", Some("x-api-key")),
            (b"Cookie", b"a=b", Some("cookie")),
            (b"HTTP_COOKIE", b"", None),
            (b"HTTP_HOST", b"x", None),
        ];
        for (name, value, want) in cases {
            assert_eq!(secret(name, value).map(|(_, constant)| constant), want);
        }
    }
}
