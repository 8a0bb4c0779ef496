//! How a command reaches a running gateway.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::args::Remote;
use super::configure::load;
use super::{Context, Failure, chain};
use crate::client::{Client, ClientOptions, ConnectError, Events, RequestError, connect};
use crate::config::{Config, Overrides, SecretSource, TokenFile};

/// Where the gateway is and what it wants to know.
pub(super) struct Target {
    pub(super) options: ClientOptions,
    /// The file the secret would be in, when no gateway has made it yet.
    missing_token: Option<PathBuf>,
}

/// Finds the gateway: flags first, then the configuration.
pub(super) fn target(context: Context<'_>, remote: Remote) -> Result<Target, Failure> {
    let has_secret = remote.token.is_some() || remote.password.is_some();
    let mut missing_token = None;
    // Somebody who says everything needs no configuration on this machine.
    let mut options = match (&remote.url, has_secret) {
        (Some(url), true) => ClientOptions::new(url.clone()),
        (url, _) => {
            let (loaded, _paths) = load(context, &Overrides::default(), TokenFile::Look)?;
            let config = loaded.config;
            let own = format!("ws://{}", reachable(&config));
            let mut options = ClientOptions::new(url.clone().unwrap_or(own));
            offer_secret(&config, &mut options);
            if let SecretSource::Generated(path) = config.secret_source {
                missing_token = (!path.exists()).then_some(path);
            }
            options
        }
    };
    if has_secret {
        options.auth.token = remote.token;
        options.auth.password = remote.password;
        missing_token = None;
    }
    Ok(Target {
        options,
        missing_token,
    })
}

/// The address a gateway of this configuration answers on, from this machine.
pub(super) fn reachable(config: &Config) -> SocketAddr {
    let mut address = config.listen.socket_addr();
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

fn offer_secret(config: &Config, options: &mut ClientOptions) {
    // The gateway compares either with the secret of its mode.
    options.auth.token = config.secret().map(|secret| secret.expose().to_owned());
}

/// Connects, does the work while the connection is served, and closes it.
pub(super) fn with_client<F, W>(
    context: Context<'_>,
    target: &Target,
    work: W,
) -> Result<(), Failure>
where
    W: FnOnce(Client, Events) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    if_reached(context, target, work)?.unwrap_or_else(|error| {
        explain(context, target, &error);
        Err(Failure::Failed)
    })
}

/// What the work came to, or why there is no connection to do it over.
pub(super) type Reached = Result<Result<(), Failure>, ConnectError>;

/// Like [`with_client`], but leaves it to the caller what it means that nobody can be reached.
pub(super) fn if_reached<F, W>(
    context: Context<'_>,
    target: &Target,
    work: W,
) -> Result<Reached, Failure>
where
    W: FnOnce(Client, Events) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| context.fail(&error))?;
    Ok(runtime.block_on(async {
        let connected = connect(&target.options).await?;
        let work = work(connected.client, connected.events);
        let (result, _end) = tokio::join!(work, connected.driver.run());
        Ok(result)
    }))
}

pub(super) fn explain(context: Context<'_>, target: &Target, error: &ConnectError) {
    let output = context.output;
    output.error(&chain(error));
    match error {
        ConnectError::Unreachable { .. } => {
            output.hint("is the gateway running? `clawport gateway` starts it");
        }
        ConnectError::Refused(_) => {
            if let Some(path) = &target.missing_token {
                let path = path.display();
                output.hint(&format!("no secret is known here: {path} does not exist"));
            }
        }
        ConnectError::NotUpgraded { .. } => {
            output.hint("something else than a gateway listens there");
        }
        ConnectError::Url
        | ConnectError::Tls
        | ConnectError::Closed(_)
        | ConnectError::Timeout
        | ConnectError::Protocol(_)
        | ConnectError::Encode(_) => {}
    }
}

/// Says why a request came to nothing.
pub(super) fn refused(context: Context<'_>, error: &RequestError) -> Failure {
    context.output.error(&chain(error));
    if let RequestError::Remote(remote) = error
        && let Some(details) = &remote.details
    {
        context.output.hint(&format!("details: {details}"));
    }
    Failure::Failed
}
