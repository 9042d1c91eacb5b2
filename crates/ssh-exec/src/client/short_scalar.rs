//! ECDSA keys that the key parser refuses: one in 256 of those on P-256.
//!
//! OpenSSH writes the secret number without leading zeros; ssh-key 0.7.0-rc.11 wants at least 32 bytes and calls such
//! a key's length invalid. Here the zeros are put back, in a copy without encryption that never leaves memory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::PrivateKey;

const MAGIC: &[u8] = b"openssh-key-v1\0";
const ALGORITHM: &[u8] = b"ecdsa-sha2-nistp256";
const SCALAR: usize = 32;
/// What an unencrypted private part is padded to.
const BLOCK: usize = 8;

/// The key in this file, if it is one of those. None for anything else, and when the passphrase is wrong.
pub(super) fn read(text: &str, passphrase: Option<&str>) -> Option<PrivateKey> {
    let container = container(text)?;
    let mut rest = container.strip_prefix(MAGIC)?;
    let cipher = field(&mut rest)?;
    let _ = (field(&mut rest)?, field(&mut rest)?);
    if number(&mut rest)? != 1 {
        return None;
    }
    let public = field(&mut rest)?;
    let private = field(&mut rest)?;
    let plain = if cipher == b"none" {
        private.to_vec()
    } else {
        decrypted(text, private, passphrase?)?
    };
    let plain = with_zeros(&plain)?;
    let mut whole = MAGIC.to_vec();
    for part in [b"none".as_slice(), b"none", b""] {
        put(&mut whole, part)?;
    }
    whole.extend_from_slice(&1_u32.to_be_bytes());
    put(&mut whole, public)?;
    put(&mut whole, &plain)?;
    PrivateKey::from_bytes(&whole).ok()
}

/// What stands between the first and the last line.
fn container(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once("-----BEGIN OPENSSH PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END OPENSSH PRIVATE KEY-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).ok()
}

/// The private part without encryption. Only ciphers without a tag of their own, as OpenSSH has by default.
fn decrypted(text: &str, private: &[u8], passphrase: &str) -> Option<Vec<u8>> {
    let key = PrivateKey::from_openssh(text).ok()?;
    let cipher = key.cipher();
    if cipher.has_tag() {
        return None;
    }
    let (secret, start) = key.kdf().derive_key_and_iv(cipher, passphrase).ok()?;
    let mut buffer = private.to_vec();
    cipher.decrypt(&secret, &start, &mut buffer, None).ok()?;
    Some(buffer)
}

/// The private part with its secret number in full length.
fn with_zeros(plain: &[u8]) -> Option<Vec<u8>> {
    let mut rest = plain;
    let check = number(&mut rest)?;
    // Two equal numbers tell that the passphrase was right.
    if number(&mut rest)? != check {
        return None;
    }
    let (algorithm, curve, point) = (field(&mut rest)?, field(&mut rest)?, field(&mut rest)?);
    let scalar = field(&mut rest)?;
    let comment = field(&mut rest)?;
    if algorithm != ALGORITHM || scalar.is_empty() {
        return None;
    }
    let mut full = vec![0; SCALAR.checked_sub(scalar.len())?];
    full.extend_from_slice(scalar);
    let mut whole = check.to_be_bytes().repeat(2);
    for part in [algorithm, curve, point, &full, comment] {
        put(&mut whole, part)?;
    }
    let padding = (1..).take((BLOCK - whole.len() % BLOCK) % BLOCK);
    whole.extend(padding);
    Some(whole)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(u32::from_be_bytes(*head))
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn put(whole: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    whole.extend_from_slice(&u32::try_from(part.len()).ok()?.to_be_bytes());
    whole.extend_from_slice(part);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_none_of_these() {
        let wrap = |body: &[u8]| {
            let body = STANDARD.encode(body);
            format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n"
            )
        };
        let mut whole = MAGIC.to_vec();
        for part in [b"none".as_slice(), b"none", b""] {
            put(&mut whole, part);
        }
        whole.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
        // Cut anywhere, and with lengths that lie.
        for end in 0..=whole.len() {
            assert!(read(&wrap(&whole[..end]), Some("x")).is_none());
        }
        for text in [
            "",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            &wrap(&[0xff; 5000]),
        ] {
            assert!(read(text, None).is_none());
        }
    }
}
