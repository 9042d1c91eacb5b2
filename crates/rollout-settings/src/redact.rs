/// A database URL as it may be shown: the password, in the authority or as a parameter, is replaced by `***`; so is all of it
/// where an '@' stands in what comes after the authority, for then it may be part of a password.
#[must_use]
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    if scheme == "sqlite" {
        return url.to_owned();
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, beyond) = rest.split_at(end);
    if beyond.contains('@') {
        return format!("{scheme}://***");
    }
    let credentials = authority.rsplit_once('@');
    let shown = match credentials.and_then(|(who, place)| Some((who.split_once(':')?.0, place))) {
        Some((user, place)) => format!("{user}:***@{place}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{shown}{}", without_password_parameter(beyond))
}

fn without_password_parameter(text: &str) -> String {
    let Some((path, query)) = text.split_once('?') else {
        return text.to_owned();
    };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((key, _)) if key.to_ascii_lowercase().contains("password") => format!("{key}=***"),
            _ => parameter.to_owned(),
        })
        .collect();
    format!("{path}?{}", parameters.join("&"))
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
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
