//! `clawport devices` against a gateway process.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::TOKEN;
use crate::support::cli::{Home, Ran, Running, free_port, wait_until_ready};
use crate::support::device::{Device, ELSEWHERE, by_token, cli, token};

const READ: &[&str] = &["operator.read"];

/// A gateway process and the home its commands run in.
struct Desk {
    home: Home,
    addr: SocketAddr,
    _gateway: Running,
}

impl Desk {
    fn new() -> Self {
        let port = free_port();
        let home = Home::with_config(&format!(
            "{{gateway: {{port: {port}, auth: {{token: '{TOKEN}'}}}}}}"
        ));
        let gateway = Running::start(home.command(&["gateway"]));
        Self {
            addr: wait_until_ready(port),
            _gateway: gateway,
            home,
        }
    }

    fn devices(&self, args: &[&str]) -> Ran {
        self.home.run(&[&["devices"], args].concat())
    }

    #[track_caller]
    fn check(&self, args: &[&str], code: i32, stdout: &str, stderr: &str) {
        let ran = self.devices(args);
        let found = (ran.code, ran.stdout.as_str());
        assert_eq!(found, (Some(code), stdout), "{ran:?}");
        assert!(ran.stderr.contains(stderr), "{ran:?}");
        assert_eq!(ran.stderr.is_empty(), stderr.is_empty(), "{ran:?}");
    }

    fn list(&self) -> Value {
        let ran = self.devices(&["list", "--json"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Lets the device connect from elsewhere with these params; the details of its refusal.
    async fn refused(&self, device: &Device, params: Value) -> Value {
        let (_ws, response) = device.connect(self.addr, &[ELSEWHERE], params).await;
        assert_eq!(response["ok"], false, "{response}");
        response["error"]["details"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_listed_and_approved_on_the_command_line() {
    let desk = Desk::new();
    let nobody = "no device is paired and none waits\n";
    desk.check(&["list"], 0, nobody, "");
    desk.check(&["approve"], 1, "", "no device waits for approval");
    let device = Device::new(1);
    let short = &device.id()[..12];
    let details = desk.refused(&device, cli(READ)).await;
    let request = details["requestId"].as_str().unwrap();
    let waiting = format!(
        "waiting for approval\n  {request}  {short}  cli, linux, 127.0.0.1\n      \
         operator: operator.read\n"
    );
    desk.check(&["list"], 0, &waiting, "");
    // With several that wait, one has to be named.
    let other = desk.refused(&Device::new(2), cli(READ)).await;
    desk.check(&["approve"], 2, "", "several devices wait for approval");
    let other = other["requestId"].as_str().unwrap();
    let rejected = format!("rejected {other}\n");
    desk.check(&["reject", other], 0, &rejected, "");
    desk.check(&["reject", other], 1, "", "unknown requestId");
    desk.check(&["approve"], 0, &format!("approved {request}\n"), "");

    let (_ws, hello) = device.enter(desk.addr, &[ELSEWHERE], cli(READ)).await;
    token(&hello);
    let paired =
        format!("paired\n  {short}  cli, linux, connected\n      operator: operator.read\n");
    desk.check(&["list"], 0, &paired, "");
    assert_eq!(desk.list()["paired"][0]["deviceId"], device.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_loses_its_rights_on_the_command_line() {
    let desk = Desk::new();
    let device = Device::new(1);
    let id = device.id();
    let (_ws, hello) = device.enter(desk.addr, &[], cli(READ)).await;
    let first = token(&hello);
    let nobody = "no paired device is called abcdef";
    desk.check(&["rotate", "abcdef"], 1, "", nobody);
    let rotated = desk.devices(&["rotate", &id[..6], "--scope", "operator.read"]);
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    assert!(rotated.stdout.contains("shared secret"), "{rotated:?}");
    let details = desk.refused(&device, by_token(READ, &first)).await;
    assert_eq!(details["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    let denied = "device token rotation denied";
    let beyond = ["rotate", &id, "--scope", "operator.admin"];
    desk.check(&beyond, 1, "", denied);

    let revoked = format!("revoked {id} as operator\n");
    desk.check(&["revoke", &id], 0, &revoked, "");
    let listed = desk.devices(&["list"]);
    assert!(listed.stdout.contains("revoked as operator"), "{listed:?}");
    let details = desk.refused(&device, cli(READ)).await;
    assert_eq!(details["reason"], "role-upgrade");

    desk.check(&["remove", &id[..12]], 0, &format!("removed {id}\n"), "");
    assert_eq!(desk.list(), json!({ "pending": [], "paired": [] }));
    desk.check(&["frobnicate"], 2, "", "unrecognized subcommand");
    let wrong = ["list", "--token", "wrong-token"];
    desk.check(&wrong, 1, "", "token mismatch");
}
