//! Key pairs, made by `ssh-keygen`.

use std::path::{Path, PathBuf};

use crate::tools::{run, text};

/// The algorithms of key pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// RSA with 2048 bits.
    Rsa,
    /// ECDSA on the NIST curve P-256.
    Ecdsa256,
    /// ECDSA on the NIST curve P-384.
    Ecdsa384,
    /// ECDSA on the NIST curve P-521.
    Ecdsa521,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ed25519,
        Self::Rsa,
        Self::Ecdsa256,
        Self::Ecdsa384,
        Self::Ecdsa521,
    ];

    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Ed25519 => ["-t", "ed25519", "-b", "256"],
            Self::Rsa => ["-t", "rsa", "-b", "2048"],
            Self::Ecdsa256 => ["-t", "ecdsa", "-b", "256"],
            Self::Ecdsa384 => ["-t", "ecdsa", "-b", "384"],
            Self::Ecdsa521 => ["-t", "ecdsa", "-b", "521"],
        }
    }
}

/// How a private key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyFormat {
    /// OpenSSH's own.
    Openssh,
    /// The old PEM formats of OpenSSL.
    Pem,
    /// PKCS #8.
    Pkcs8,
}

/// A key pair in a folder.
#[derive(Clone, Debug)]
pub struct TestKey {
    private: PathBuf,
    public_line: String,
}

impl TestKey {
    /// Makes an unencrypted key pair in OpenSSH's format.
    pub fn generate(folder: &Path, name: &str, kind: KeyKind) -> Self {
        Self::generate_as(folder, name, kind, KeyFormat::Openssh, "")
    }

    /// Makes a key pair in this format, encrypted unless the passphrase is empty.
    ///
    /// # Panics
    ///
    /// When `ssh-keygen` fails: not every kind exists in every format.
    pub fn generate_as(
        folder: &Path,
        name: &str,
        kind: KeyKind,
        format: KeyFormat,
        passphrase: &str,
    ) -> Self {
        let private = folder.join(name);
        let mut arguments = vec!["-q", "-N", passphrase, "-C", "", "-f", text(&private)];
        arguments.extend(kind.arguments());
        match format {
            KeyFormat::Openssh => {}
            KeyFormat::Pem => arguments.extend(["-m", "PEM"]),
            KeyFormat::Pkcs8 => arguments.extend(["-m", "PKCS8"]),
        }
        run("ssh-keygen", &arguments);
        let line = std::fs::read_to_string(private.with_extension("pub"))
            .expect("ssh-keygen wrote the public key");
        Self {
            private,
            public_line: line.trim().to_owned(),
        }
    }

    /// The private key's file.
    #[must_use]
    pub fn private(&self) -> &Path {
        &self.private
    }

    /// The public key as one line, without comment.
    #[must_use]
    pub fn public_line(&self) -> &str {
        &self.public_line
    }
}
