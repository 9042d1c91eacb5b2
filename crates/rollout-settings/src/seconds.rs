use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fleet_types::Invalid;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

/// A length of time as people write it: `5`, `0.2`, `5s`, `500ms`, `2m`, `1h`. A bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Seconds {
    fn from_number(number: f64, unit: f64, text: &str) -> Result<Self, Invalid> {
        Duration::try_from_secs_f64(number * unit)
            .ok()
            .filter(|time| *time <= Duration::from_secs(366 * 86_400))
            .map(Self)
            .ok_or_else(|| refuse(text))
    }
}

fn refuse(text: &str) -> Invalid {
    Invalid::new(
        "duration",
        text,
        "must be a length of time like 5s, 0.5s, 500ms, 2m or 1h",
    )
}

impl FromStr for Seconds {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "" | "s" => 1.0,
            "ms" => 0.001,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refuse(text)),
        };
        let number: f64 = number.parse().map_err(|_| refuse(text))?;
        Self::from_number(number, unit, text)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds, or a length of time like \"500ms\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Seconds, E> {
                Seconds::from_number(number, 1.0, &number.to_string()).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Seconds, E> {
                let whole =
                    u64::try_from(number).map_err(|_| E::custom(refuse(&number.to_string())))?;
                self.visit_u64(whole)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Seconds, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, millis) in [
            ("5", 5000),
            ("5s", 5000),
            ("0.2", 200),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0", 0),
        ] {
            assert_eq!(
                text.parse::<Seconds>().unwrap().0.as_millis(),
                millis,
                "{text}"
            );
        }
        for bad in [
            "",
            "s",
            "-1",
            "5 s",
            "5d",
            "1e3",
            "nan",
            "inf",
            "99999999999h",
            "1.2.3",
            "5ss",
        ] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad:?}");
        }
    }
}
