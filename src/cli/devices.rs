//! `devices`: who is paired with a running gateway and who asks to be.

use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::args::{DevicesArgs, DevicesCommand};
use super::remote::{refused, target, with_client};
use super::{Context, Failure};
use crate::client::{Client, PairedDevice, PairingList, PendingDevice};

/// Characters of a device id that are shown, and enough to name it where it is the only one.
const ID_CHARS: usize = 12;

/// Fewest characters that may stand for a device id.
const PREFIX_CHARS_MIN: usize = 4;

pub(super) fn run(context: Context<'_>, args: DevicesArgs) -> Result<(), Failure> {
    let target = target(context, args.remote)?;
    let devices = Devices {
        context,
        json: args.json,
    };
    with_client(context, &target, |client, _events| async move {
        let result = devices.carry_out(&client, args.command).await;
        client.close().await;
        result
    })
}

struct Devices<'a> {
    context: Context<'a>,
    json: bool,
}

impl Devices<'_> {
    async fn carry_out(&self, client: &Client, command: DevicesCommand) -> Result<(), Failure> {
        match command {
            DevicesCommand::List => self.list(client).await,
            DevicesCommand::Approve { request } => {
                let request = self.request(client, request).await?;
                let params = json!({ "requestId": request });
                let answer = self.ask(client, "device.pair.approve", params).await?;
                self.done(&answer, &format!("approved {request}"));
                Ok(())
            }
            DevicesCommand::Reject { request } => {
                let request = self.request(client, request).await?;
                let params = json!({ "requestId": request });
                let answer = self.ask(client, "device.pair.reject", params).await?;
                self.done(&answer, &format!("rejected {request}"));
                Ok(())
            }
            DevicesCommand::Remove { device } => {
                let device = self.device(client, &device).await?;
                let params = json!({ "deviceId": device });
                let answer = self.ask(client, "device.pair.remove", params).await?;
                self.done(&answer, &format!("removed {device}"));
                Ok(())
            }
            DevicesCommand::Revoke { device, role } => {
                let device = self.device(client, &device).await?;
                let params = json!({ "deviceId": device, "role": role });
                let answer = self.ask(client, "device.token.revoke", params).await?;
                self.done(&answer, &format!("revoked {device} as {role}"));
                Ok(())
            }
            DevicesCommand::Rotate {
                device,
                role,
                scopes,
            } => {
                let device = self.device(client, &device).await?;
                let mut params = json!({ "deviceId": device, "role": role });
                if let (Value::Object(params), Some(scopes)) = (&mut params, scopes) {
                    params.insert("scopes".to_owned(), scopes.into());
                }
                let answer = self.ask(client, "device.token.rotate", params).await?;
                let said = format!(
                    "rotated {device} as {role}; it gets its new token when it connects with the \
                     shared secret"
                );
                self.done(&answer, &said);
                Ok(())
            }
        }
    }

    async fn list(&self, client: &Client) -> Result<(), Failure> {
        let answer = self.ask(client, "device.pair.list", json!({})).await?;
        if self.json {
            self.context.output.answer_line(&format!("{answer:#}"));
        } else {
            self.context.output.answer(&shown(&read(&answer)));
        }
        Ok(())
    }

    /// The request that is meant; without a name the only one there is.
    async fn request(&self, client: &Client, named: Option<String>) -> Result<String, Failure> {
        if let Some(named) = named {
            return Ok(named);
        }
        let answer = self.ask(client, "device.pair.list", json!({})).await?;
        let list: PairingList = read(&answer);
        match list.pending.as_slice() {
            [only] => Ok(only.request_id.clone()),
            [] => {
                self.context.output.error("no device waits for approval");
                Err(Failure::Failed)
            }
            several => {
                self.context
                    .output
                    .error("several devices wait for approval, name one of their requests");
                let lines: String = several.iter().map(pending_line).collect();
                self.context.output.say(&lines);
                Err(Failure::Usage)
            }
        }
    }

    /// The paired device that is meant, by its id, the beginning of it, or its label.
    async fn device(&self, client: &Client, named: &str) -> Result<String, Failure> {
        let answer = self.ask(client, "device.pair.list", json!({})).await?;
        let list: PairingList = read(&answer);
        let meant: Vec<_> = list
            .paired
            .iter()
            .filter(|it| is_meant(it, named))
            .collect();
        match meant.as_slice() {
            [only] => Ok(only.device_id.clone()),
            [] => {
                let message = format!("no paired device is called {named}");
                self.context.output.error(&message);
                self.context
                    .output
                    .hint("`clawport devices list` shows who is paired");
                Err(Failure::Failed)
            }
            several => {
                let message = format!("{} devices could be meant by {named}", several.len());
                self.context.output.error(&message);
                Err(Failure::Usage)
            }
        }
    }

    async fn ask(&self, client: &Client, method: &str, params: Value) -> Result<Value, Failure> {
        let answer = client.request(method, &params).await;
        let answer = answer.map_err(|error| refused(self.context, &error))?;
        Ok(serde_json::from_str(answer.get()).unwrap_or_default())
    }

    fn done(&self, answer: &Value, said: &str) {
        if self.json {
            self.context.output.answer_line(&format!("{answer:#}"));
        } else {
            self.context.output.answer_line(said);
        }
    }
}

fn read<T: DeserializeOwned + Default>(answer: &Value) -> T {
    serde_json::from_value(answer.clone()).unwrap_or_default()
}

fn is_meant(device: &PairedDevice, named: &str) -> bool {
    let is_beginning = named.len() >= PREFIX_CHARS_MIN && device.device_id.starts_with(named);
    is_beginning || device.label.as_deref() == Some(named)
}

fn shown(list: &PairingList) -> String {
    let mut text = String::new();
    if list.pending.is_empty() && list.paired.is_empty() {
        return "no device is paired and none waits\n".to_owned();
    }
    if !list.pending.is_empty() {
        text.push_str("waiting for approval\n");
        text.extend(list.pending.iter().map(pending_line));
    }
    if !list.paired.is_empty() {
        text.push_str("paired\n");
        text.extend(list.paired.iter().map(paired_line));
    }
    text
}

fn pending_line(device: &PendingDevice) -> String {
    let about = about(&[
        device.display_name.as_deref(),
        device.client_id.as_deref(),
        device.platform.as_deref(),
        device.remote_ip.as_deref(),
    ]);
    let (request, id) = (&device.request_id, short(&device.device_id));
    let rights = rights(&device.roles, &device.scopes);
    line(&format!("  {request}  {id}  {about}"), &rights)
}

fn paired_line(device: &PairedDevice) -> String {
    let about = about(&[
        device.label.as_deref().or(device.display_name.as_deref()),
        device.client_id.as_deref(),
        device.platform.as_deref(),
        device.connected.then_some("connected"),
    ]);
    let revoked: Vec<_> = device
        .tokens
        .iter()
        .filter(|token| token.revoked_at_ms.is_some())
        .map(|token| token.role.as_str())
        .collect();
    let mut rights = rights(&device.roles, &device.scopes);
    if !revoked.is_empty() {
        // A string takes everything that is written to it.
        write!(rights, "; revoked as {}", revoked.join(", ")).ok();
    }
    line(&format!("  {}  {about}", short(&device.device_id)), &rights)
}

fn line(who: &str, rights: &str) -> String {
    format!("{}\n      {rights}\n", who.trim_end())
}

fn about(parts: &[Option<&str>]) -> String {
    let parts: Vec<&str> = parts.iter().copied().flatten().collect();
    parts.join(", ")
}

fn rights(roles: &[String], scopes: &[String]) -> String {
    let scopes = if scopes.is_empty() {
        "no scopes".to_owned()
    } else {
        scopes.join(" ")
    };
    format!("{}: {scopes}", roles.join(", "))
}

fn short(id: &str) -> &str {
    id.get(..ID_CHARS).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> PairingList {
        read(&json!({
            "pending": [{
                "requestId": "r-1", "deviceId": "aaaaaaaaaaaaaaaaaaaa", "displayName": "Phone",
                "platform": "ios", "remoteIp": "192.0.2.7", "role": "operator",
                "roles": ["operator"], "scopes": ["operator.read"], "ts": 1,
            }],
            "paired": [
                {
                    "deviceId": "9b52421fa1ff9823c34a", "clientId": "cli", "platform": "linux",
                    "roles": ["operator", "node"], "scopes": [], "connected": true,
                    "tokens": [{"role": "node", "revokedAtMs": 5}, {"role": "operator"}],
                },
                {
                    "deviceId": "9b52aaaaaaaaaaaaaaaa", "label": "Kitchen",
                    "roles": ["operator"], "scopes": ["operator.admin"], "connected": false,
                },
            ],
        }))
    }

    #[test]
    fn a_list_shows_who_waits_and_who_is_paired() {
        let expected = "\
waiting for approval
  r-1  aaaaaaaaaaaa  Phone, ios, 192.0.2.7
      operator: operator.read
paired
  9b52421fa1ff  cli, linux, connected
      operator, node: no scopes; revoked as node
  9b52aaaaaaaa  Kitchen
      operator: operator.admin
";
        assert_eq!(shown(&list()), expected);
        let nobody = shown(&PairingList::default());
        assert_eq!(nobody, "no device is paired and none waits\n");
    }

    fn check_meant(named: &str, expected: &[&str]) {
        let list = list();
        let meant = list.paired.iter().filter(|it| is_meant(it, named));
        let meant: Vec<_> = meant.map(|it| short(&it.device_id)).collect();
        assert_eq!(meant, expected, "{named:?}");
    }

    #[test]
    fn a_device_is_named_by_its_id_the_beginning_of_it_or_its_label() {
        check_meant("9b52421fa1ff9823c34a", &["9b52421fa1ff"]);
        check_meant("9b524", &["9b52421fa1ff"]);
        check_meant("9b52", &["9b52421fa1ff", "9b52aaaaaaaa"]);
        check_meant("9b5", &[]);
        check_meant("", &[]);
        check_meant("Kitchen", &["9b52aaaaaaaa"]);
        check_meant("kitchen", &[]);
    }
}
