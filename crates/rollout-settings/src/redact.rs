/// A database URL as it may be shown: the password, in the authority or as a parameter, is replaced by `***`; so is all of it
/// where an '@' stands in a place that it may have come to as a part of a password.
#[must_use]
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    if scheme == "sqlite" {
        return url.to_owned();
    }
    let (authority, beyond) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (path, query) = match beyond.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (beyond, None),
    };
    let credentials = authority.rsplit_once('@');
    let parameters = || query.into_iter().flat_map(|query| query.split('&'));
    let is_odd = |part: &str| part.contains('@') && (credentials.is_none() || !part.contains('='));
    if path.contains('@') || parameters().any(is_odd) {
        return format!("{scheme}://***");
    }
    let shown = match credentials {
        Some((who, place)) => match who.split_once(':') {
            Some((user, _)) => format!("{user}:***@{place}"),
            None => authority.to_owned(),
        },
        None => without_odd_port(authority),
    };
    let parameters: Vec<String> = parameters().map(without_password_parameter).collect();
    let mark = if query.is_some() { "?" } else { "" };
    format!("{scheme}://{shown}{path}{mark}{}", parameters.join("&"))
}

/// What stands for a port and is none may be the password of a URL whose host was forgotten.
fn without_odd_port(authority: &str) -> String {
    let several = authority.contains([',', '[']);
    match authority.split_once(':') {
        Some((host, port)) if !several && !port.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{host}:***")
        }
        _ => authority.to_owned(),
    }
}

fn without_password_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        // An escape in the name may hide which one it is.
        Some((key, _)) if key.to_ascii_lowercase().contains("password") || key.contains('%') => {
            format!("{key}=***")
        }
        // The rest of a password with an '&' in it.
        None if !parameter.is_empty() => "***".to_owned(),
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn passwords_are_never_shown() {
        for (url, shown) in [
            ("sqlite:///a/b@c:d.db", "sqlite:///a/b@c:d.db"),
            (
                "postgres://u:s3cret@h:5432/db",
                "postgres://u:***@h:5432/db",
            ),
            ("postgres://u:s3@cret@h/db", "postgres://u:***@h/db"),
            ("postgres://u:s3/c@ret@h/db", "postgres://***"),
            ("postgres://u:s3@c/ret@h/db", "postgres://***"),
            ("postgres://u:s3@c?ret@h/db", "postgres://***"),
            ("postgres://h/db?user=u&password=s3@cret", "postgres://***"),
            ("postgres://h:1/db?password=s3@cret", "postgres://***"),
            ("postgres://h:1/db?user=u@x&password=s3", "postgres://***"),
            (
                "postgres://u:s3@h?password=cret",
                "postgres://u:***@h?password=***",
            ),
            ("postgres://u@h/db", "postgres://u@h/db"),
            (
                "postgres://h/db?user=u&password=s3cret&x=1",
                "postgres://h/db?user=u&password=***&x=1",
            ),
            (
                "postgres://h/db?password=s3&cret",
                "postgres://h/db?password=***&***",
            ),
            (
                "postgres://u@h/db?pass%77ord=s3",
                "postgres://u@h/db?pass%77ord=***",
            ),
            ("postgres://u:s3cret/db", "postgres://u:***/db"),
            // Without a password nothing changes: that is how it is found out.
            (
                "postgres://u@h:5432/db?sslrootcert=/x/r@prod/ca",
                "postgres://u@h:5432/db?sslrootcert=/x/r@prod/ca",
            ),
            (
                "postgres://h:1,h2:2/db?user=u",
                "postgres://h:1,h2:2/db?user=u",
            ),
            ("postgres://h:1,h2/db", "postgres://h:1,h2/db"),
            (
                "postgres://[2001:db8::7]:5432/db",
                "postgres://[2001:db8::7]:5432/db",
            ),
            (
                "postgres://%2Frun%2Fpostgresql/db?",
                "postgres://%2Frun%2Fpostgresql/db?",
            ),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
