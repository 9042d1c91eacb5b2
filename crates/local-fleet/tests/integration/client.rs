//! A plain SSH client, so that what is tested does not depend on how the product connects.

use std::sync::Arc;
use std::time::Duration;

use local_fleet::LocalHost;
use russh::client::{self, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, Sig};

/// How a command ended, as far as the client was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Status(u32),
    Signal(String),
    /// The channel or the connection ended, and nobody said how the command did.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub stdout: String,
    pub stderr: String,
    pub end: End,
}

/// Remembers the key that the server showed.
pub(crate) struct Keys {
    seen: Arc<std::sync::Mutex<String>>,
}

impl client::Handler for Keys {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = key {
            *self.seen.lock().unwrap() = key.to_openssh().unwrap();
        }
        Ok(true)
    }
}

pub(crate) struct Client {
    pub handle: Handle<Keys>,
    pub host_key: String,
}

impl Client {
    pub(crate) async fn connect(host: &LocalHost) -> Client {
        Self::try_connect(host, host.user()).await.unwrap()
    }

    /// Connects and signs in; the error says which of the two failed.
    pub(crate) async fn try_connect(host: &LocalHost, user: &str) -> Result<Client, String> {
        let seen = Arc::default();
        let keys = Keys {
            seen: Arc::clone(&seen),
        };
        let config = Arc::new(client::Config {
            nodelay: true,
            ..Default::default()
        });
        let connecting = client::connect(config, (host.address(), host.port()), keys);
        let connected = tokio::time::timeout(Duration::from_secs(10), connecting).await;
        let mut handle = connected
            .map_err(|_| "no answer")?
            .map_err(|error| format!("connect: {error}"))?;
        let key = PrivateKeyWithHashAlg::new(
            Arc::new(load_secret_key(host.client_key(), None).unwrap()),
            None,
        );
        let answer = handle
            .authenticate_publickey(user, key)
            .await
            .map_err(|error| format!("sign in: {error}"))?;
        if !answer.success() {
            return Err("refused".into());
        }
        let host_key = seen.lock().unwrap().clone();
        Ok(Client { handle, host_key })
    }

    /// Runs a script as the product does: a shell that reads it from standard input.
    pub(crate) async fn run(&self, script: &str) -> Output {
        self.exec("exec /bin/sh -s", script, None).await
    }

    /// Runs a command with this standard input; sends a signal once standard output has the given text.
    pub(crate) async fn exec(
        &self,
        command: &str,
        input: &str,
        signal: Option<(&str, Sig)>,
    ) -> Output {
        let mut output = Output {
            stdout: String::new(),
            stderr: String::new(),
            end: End::Unknown,
        };
        let Ok(mut channel) = self.handle.channel_open_session().await else {
            return output;
        };
        let mut signal = signal;
        let sent = async {
            channel.exec(true, command).await?;
            channel.data_bytes(input.as_bytes().to_vec()).await?;
            channel.eof().await
        };
        if sent.await.is_err() {
            return output;
        }
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    output.stdout.push_str(&String::from_utf8_lossy(&data))
                }
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    output.stderr.push_str(&String::from_utf8_lossy(&data))
                }
                ChannelMsg::ExitStatus { exit_status } => output.end = End::Status(exit_status),
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    output.end = End::Signal(format!("{signal_name:?}"))
                }
                _ => {}
            }
            if let Some((_, sig)) = signal.take_if(|(text, _)| output.stdout.contains(*text)) {
                channel.signal(sig).await.unwrap();
            }
        }
        output
    }
}

/// Connects, runs one script, leaves.
pub(crate) async fn run(host: &LocalHost, script: &str) -> Output {
    Client::connect(host).await.run(script).await
}
