//! Tests of loading: every message, and what reaches which module.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests may panic, and tables are long"
)]

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::problem::Severity;
use super::*;
use crate::agent::sim::SimMode;
use crate::dispatch::ConfigView;
use crate::run::QueueMode;
use crate::transport::ControlUiConfig;

/// A state directory with a configuration, and the environment around it.
struct Setup {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
    overrides: Overrides,
}

impl Setup {
    fn new(text: &str) -> Self {
        let setup = Self::empty();
        setup.write("openclaw.json", text);
        setup
    }

    fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            env: Vec::new(),
            overrides: Overrides::default(),
        }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flags(mut self, set: impl FnOnce(&mut Overrides)) -> Self {
        set(&mut self.overrides);
        self
    }

    fn load(&self) -> Result<Loaded, Report> {
        let state = self.dir.path().display().to_string();
        let env: Env = [("OPENCLAW_STATE_DIR".to_owned(), state)]
            .into_iter()
            .chain(self.env.iter().cloned())
            .collect();
        let paths = Paths::find(&env, None).unwrap();
        load(&Load {
            env: &env,
            paths: &paths,
            overrides: &self.overrides,
            token_file: TokenFile::Create,
        })
    }

    fn config(&self) -> Config {
        self.load()
            .unwrap_or_else(|report| panic!("{}", report.render(Colour::Off)))
            .config
    }

    /// Every problem as `severity key @line:column message`, with the directory taken out.
    fn problems(&self) -> Vec<String> {
        let report = match self.load() {
            Ok(loaded) => loaded.report,
            Err(report) => report,
        };
        let dir = self.dir.path().display().to_string();
        let line = |entry: Entry| {
            let place = match (entry.line, entry.column, &entry.file) {
                (Some(line), Some(column), _) => format!("{line}:{column}"),
                (_, _, Some(file)) => file.replace(&dir, "DIR"),
                _ => "-".to_owned(),
            };
            let (severity, key) = (entry.severity, entry.key);
            format!(
                "{severity} {key} @{place} {}",
                entry.message.replace(&dir, "DIR")
            )
        };
        report.entries().into_iter().map(line).collect()
    }
}

#[track_caller]
fn check_problems(setup: &Setup, expected: &[&str]) {
    assert_eq!(setup.problems(), expected);
}

/// Checks the one problem of a configuration that starts as soon as it is gone.
#[track_caller]
fn check_one(text: &str, expected: &str) {
    check_problems(&Setup::new(text), &[expected]);
}

#[test]
fn no_file_is_loopback_with_a_token_and_a_simulated_agent() {
    let setup = Setup::empty();
    let config = setup.config();
    assert_eq!(config.listen.socket_addr().to_string(), "127.0.0.1:18789");
    let SecretSource::Generated(path) = &config.secret_source else {
        panic!("{:?}", config.secret_source);
    };
    let kept = std::fs::read_to_string(path).unwrap();
    assert_eq!(config.auth.mode, AuthMode::Token(Secret::new(kept)));
    assert!(!config.transport.chat_enabled);
    assert_eq!(config.transport, TransportConfig::default());
    assert_eq!(config.scheduler, SchedulerConfig::default());
    assert_eq!(config.logs, LogsConfig::default());
    assert_eq!(config.drain, Duration::from_secs(30));
    assert_eq!(config.store.dir, setup.dir.path());
    let agent = &config.agents.list[0];
    assert_eq!(agent.id.as_str(), "main");
    assert_eq!(config.agents.default, Some(agent.id.clone()));
    let Backend::Sim(sim) = &agent.backend else {
        panic!("{:?}", agent.backend);
    };
    assert_eq!((sim.mode, &*sim.name), (SimMode::Demo, "demo"));
    assert_eq!(agent.limits.run, Some(Duration::from_mins(10)));
    assert_eq!(agent.limits.idle, Some(Duration::from_mins(2)));
    assert_eq!(agent.limits.abort_grace, Duration::from_secs(2));
    assert_eq!(agent.limits.output_bytes_max, 4 << 20);
    assert_eq!(agent.limits.concurrent_max, 256);
    let snapshot = config.view.snapshot();
    assert!(!snapshot.exists);
    assert_eq!(snapshot.raw, None);
    assert_eq!(snapshot.parsed, json!({}));
    assert_eq!(
        &*snapshot.hash,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn an_empty_object_is_the_same_as_no_file() {
    let none = Setup::empty().config();
    let empty = Setup::new("{}").config();
    let effective = |config: &Config| config.view.snapshot().effective;
    assert_eq!(effective(&none), effective(&empty));
}

/// The example of the original's shape: it starts as it stands.
const ORIGINAL: &str = r#"{
  // The gateway
  gateway: { port: 18790, mode: "local", bind: "loopback", auth: { mode: "token", token: "${MY_TOKEN}" },
             tailscale: { mode: "off" }, controlUi: { basePath: "/x", allowedOrigins: [" HTTPS://A.example "] },
             http: { endpoints: { chatCompletions: { enabled: true }, responses: { enabled: false } } } },
  models: { mode: "merge", providers: { local: { baseUrl: "http://127.0.0.1:11434/v1", apiKey: "none", api: "openai-completions",
      models: [{ id: "llama3.2", name: "Llama", contextWindow: 128000, maxTokens: 4096, input: ["text"],
                 reasoning: false, cost: { input: 0, output: 0 } }] } } },
  agents: { defaults: { model: { primary: "local/llama3.2", fallbacks: ["local/llama3.2"] }, workspace: "~/w",
                        models: { "local/llama3.2": { alias: "llama" } }, maxConcurrent: 4 },
            list: [{ id: "main", default: true, identity: { name: "Clawd", emoji: "C" } }, { id: "Beta", model: "sim/echo" }] },
  messages: { queue: { mode: "collect", byChannel: { slack: "steer" } }, ackReaction: "x" },
  session: { scope: "per-sender", mainKey: "Work" },
  channels: { telegram: { botToken: "${TELEGRAM_TOKEN}", enabled: true } },
  plugins: { entries: {} }, hooks: { token: "abc" }, meta: { lastTouchedVersion: "2026.9.6" },
  logging: { level: "debug", consoleStyle: "compact" },
}"#;

#[test]
fn a_configuration_of_the_original_starts_as_it_stands() {
    let setup = Setup::new(ORIGINAL).env("MY_TOKEN", "a-long-token");
    check_problems(
        &setup,
        &[
            "warning gateway.mode @3:27 not used by clawport",
            "warning gateway.tailscale @4:14 not used by clawport",
            "warning gateway.http.endpoints.responses @5:71 not used by clawport",
            "warning models.mode @6:13 not used by clawport",
            "warning models.providers.local.models[0].cost @8:36 not used by clawport",
            "warning agents.defaults.workspace @9:94 not used by clawport",
            "warning agents.defaults.models @10:25 not used by clawport",
            "warning messages.queue.byChannel @12:41 not used by clawport",
            "warning messages.ackReaction @12:74 not used by clawport",
            "warning session.scope @13:14 not used by clawport",
            "warning channels @14:3 the section is not used by clawport",
            "warning plugins @15:3 the section is not used by clawport",
            "warning hooks @15:29 the section is not used by clawport",
            "warning meta @15:54 the section is not used by clawport",
        ],
    );
    let config = setup.config();
    assert_eq!(config.listen.port, 18_790);
    assert_eq!(
        config.auth.mode,
        AuthMode::Token(Secret::new("a-long-token"))
    );
    assert_eq!(config.auth.origins.allowed, ["https://a.example"]);
    assert!(config.transport.chat_enabled);
    assert_eq!(config.scheduler.active_max, 4);
    assert_eq!(config.scheduler.queue.mode, Some(QueueMode::Collect));
    assert_eq!(&*config.view.main_key(), "work");
    assert_eq!(config.logging.level, LogLevel::Debug);
    assert_eq!(config.logging.format, Some(LogFormat::Compact));
    let ids: Vec<_> = config
        .agents
        .list
        .iter()
        .map(|agent| agent.id.as_str())
        .collect();
    assert_eq!(ids, ["main", "beta"]);
    let Backend::Model(model) = &config.agents.list[0].backend else {
        panic!("not a model agent");
    };
    assert_eq!(model.endpoints.len(), 2);
    assert_eq!(model.endpoints[0].context_window, Some(128_000));
    assert_eq!(model.endpoints[0].max_tokens, Some(4096));
    assert_eq!(
        config.agents.list[0].identity.name.as_deref(),
        Some("Clawd")
    );
    let models: Vec<_> = config
        .agents
        .models
        .iter()
        .map(|entry| &*entry.name)
        .collect();
    assert_eq!(models, ["Llama", "echo"]);
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let setup = Setup::new(
        "{\n  gateway: {\n    port: 99999,\n    bnd: 'lan',\n    auth: { token: 'changeme' },\n  },\n  \
         agents: { list: [{ id: 'a b' }, { model: 'nowhere' }] },\n  models: 5,\n}",
    );
    check_problems(
        &setup,
        &[
            "error gateway.port @3:11 expected a whole number from 0 to 65535, found 99999",
            "error gateway.bnd @4:5 unknown key `bnd`; did you mean `bind`?",
            "error agents.list[1] @7:35 the key `id` is missing",
            "error models @8:11 expected an object, found a number",
            "error gateway.auth.token @5:20 the secret is a placeholder; choose one of your own",
            "error agents.list[0].id @7:26 not an agent id: the id holds a character that is not allowed",
        ],
    );
}

#[test]
fn syntax_errors_do_not_hide_the_rest() {
    let setup = Setup::new(
        "{\n gateway: { port: tru, drainSeconds: -1 }\n store: { durability: 'half' },\n}",
    );
    check_problems(
        &setup,
        &[
            "error  @2:19 unknown word `tru`; a string needs quotes",
            "error  @3:2 expected `,` or `}`, found `s`",
            "error gateway.drainSeconds @2:38 expected a whole number from 0 to 86400, found -1",
            "error store.durability @3:23 expected \"full\" or \"normal\", found \"half\"",
        ],
    );
    check_problems(
        &Setup::new("[]"),
        &["error  @1:1 a configuration is an object, found a list"],
    );
    check_problems(
        &Setup::new(""),
        &["error  @1:1 expected a value, found the end of the file"],
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let named = Setup::empty();
    let env: Env = [("HOME", "/h")].into_iter().collect();
    let missing = named.dir.path().join("none.json");
    let paths = Paths::find(&env, Some(&missing)).unwrap();
    let result = load(&Load {
        env: &env,
        paths: &paths,
        overrides: &Overrides::default(),
        token_file: TokenFile::Look,
    });
    let entries = result.unwrap_err().entries();
    assert_eq!(entries[0].message, "the file does not exist");
    assert_eq!(entries[0].file, Some(missing.display().to_string()));

    let setup = Setup::empty();
    std::fs::write(setup.dir.path().join("openclaw.json"), b"{a: '\xff'}").unwrap();
    check_problems(
        &setup,
        &["error  @DIR/openclaw.json the file is not UTF-8 text"],
    );
    let setup = Setup::empty();
    std::fs::create_dir(setup.dir.path().join("openclaw.json")).unwrap();
    check_problems(
        &setup,
        &["error  @DIR/openclaw.json the file cannot be read: Is a directory (os error 21)"],
    );
    let setup = Setup::new(&" ".repeat(json5::BYTES_MAX + 1));
    check_problems(
        &setup,
        &["error  @1:1 the file is larger than 1048576 bytes"],
    );
}

#[test]
fn variables_and_includes_work_together() {
    let setup = Setup::new(
        "{ $include: 'base.json5', gateway: { port: 1234 },
           env: { FROM_FILE: 'file-token-1', vars: { SET: 'not-this' } } }",
    )
    .env("SET", "10.0.0.0/8");
    setup.write(
        "base.json5",
        "{ gateway: { port: 1, auth: { token: '${FROM_FILE}' }, trustedProxies: ['${SET}'] } }",
    );
    let config = setup.config();
    assert_eq!(config.listen.port, 1234);
    assert_eq!(
        config.auth.mode,
        AuthMode::Token(Secret::new("file-token-1"))
    );
    assert_eq!(config.auth.proxies.trusted[0].to_string(), "10.0.0.0/8");

    let setup = Setup::new("{\n gateway: { auth: { token: 'x-${NONE}' } } }").env("NONE", "");
    check_problems(
        &setup,
        &[
            "error gateway.auth.token @2:31 the variable NONE is not set",
            "error gateway.auth.token @2:28 the secret holds an unresolved ${…}; names are upper case",
        ],
    );
}

#[test]
fn the_port_comes_from_flag_then_variable_then_file() {
    let port = |setup: Setup| setup.config().listen.port;
    let file = "{gateway: {port: 3}}";
    assert_eq!(port(Setup::new("{}")), 18_789);
    assert_eq!(port(Setup::new(file)), 3);
    assert_eq!(port(Setup::new(file).env(env::PORT, " 2 ")), 2);
    let all = Setup::new(file)
        .env(env::PORT, "2")
        .flags(|flags| flags.port = Some(1));
    assert_eq!(port(all), 1);
    for bad in ["x", "-1", "65536", "1.5"] {
        let setup = Setup::new(file).env(env::PORT, bad);
        let expected =
            format!("error  @OPENCLAW_GATEWAY_PORT expected a port from 0 to 65535, found {bad:?}");
        check_problems(&setup, &[&expected]);
    }
}

#[test]
fn the_address_comes_from_flag_then_file() {
    let address = |text: &str| {
        let setup = Setup::new(text).env(env::TOKEN, "long-enough");
        setup.config().listen.address.to_string()
    };
    assert_eq!(address("{gateway: {bind: 'loopback'}}"), "127.0.0.1");
    assert_eq!(address("{gateway: {bind: 'auto'}}"), "127.0.0.1");
    assert_eq!(address("{gateway: {bind: 'localhost'}}"), "127.0.0.1");
    assert_eq!(address("{gateway: {bind: 'lan'}}"), "0.0.0.0");
    assert_eq!(address("{gateway: {bind: '::1'}}"), "::1");
    assert_eq!(address("{gateway: {bind: '192.0.2.7'}}"), "192.0.2.7");
    assert_eq!(
        address("{gateway: {bind: 'custom', customBindHost: ' 192.0.2.8 '}}"),
        "192.0.2.8"
    );
    let flag =
        Setup::new("{gateway: {bind: 'lan'}}").flags(|flags| flags.bind = Some("::1".to_owned()));
    assert_eq!(flag.config().listen.address.to_string(), "::1");

    check_one(
        "{gateway: {bind: 'tailnet'}}",
        "warning gateway.bind @1:18 bind \"tailnet\" is not supported; loopback is used",
    );
    check_one(
        "{gateway: {bind: 'wan'}}",
        "error gateway.bind @1:18 expected loopback, lan, auto, custom or an address, found \"wan\"",
    );
    check_one(
        "{gateway: {bind: 'custom'}}",
        "error gateway.bind @1:18 bind \"custom\" needs `gateway.customBindHost`",
    );
    check_one(
        "{gateway: {bind: 'custom', customBindHost: 'host'}}",
        "error gateway.customBindHost @1:44 expected an address, found \"host\"",
    );
    let flag = Setup::new("{}").flags(|flags| flags.bind = Some("wan".to_owned()));
    check_problems(
        &flag,
        &["error  @--bind expected loopback, lan, auto, custom or an address, found \"wan\""],
    );
}

#[test]
fn nobody_listens_beyond_loopback_without_a_secret_of_their_own() {
    let refused = "refusing to listen on 0.0.0.0 without a secret of your own; set \
                   OPENCLAW_GATEWAY_TOKEN or `gateway.auth.token`, or bind to loopback";
    check_one(
        "{gateway: {bind: 'lan'}}",
        &format!("error gateway.bind @1:18 {refused}"),
    );
    check_one(
        "{gateway: {bind: 'lan', auth: {mode: 'none'}}}",
        &format!("error gateway.bind @1:18 {refused}"),
    );
    let flag = Setup::empty().flags(|flags| flags.bind = Some("lan".to_owned()));
    check_problems(&flag, &[&format!("error  @--bind {refused}")]);
    assert!(!flag.dir.path().join("gateway-token").exists());
    let open = Setup::new("{gateway: {auth: {mode: 'none'}}}").config();
    assert_eq!(
        (open.auth.mode, open.secret_source),
        (AuthMode::None, SecretSource::None)
    );
}

#[test]
fn secrets_come_from_flag_then_file_then_variable() {
    let mode = |setup: &Setup| {
        let config = setup.config();
        (config.auth.mode, config.secret_source)
    };
    let token = |text: &str| AuthMode::Token(Secret::new(text));
    let password = |text: &str| AuthMode::Password(Secret::new(text));
    let file = "{gateway: {auth: {token: 'file-token'}}}";
    let variable = Setup::new("{}").env(env::TOKEN, "env-token");
    assert_eq!(
        mode(&variable),
        (token("env-token"), SecretSource::Environment(env::TOKEN))
    );
    let both = Setup::new(file).env(env::TOKEN, "env-token");
    assert_eq!(mode(&both), (token("file-token"), SecretSource::File));
    let all = both.flags(|flags| flags.token = Some(Secret::new("flag-token")));
    assert_eq!(mode(&all), (token("flag-token"), SecretSource::Flag));

    let by_password = Setup::new("{gateway: {auth: {password: 'file-password'}}}");
    assert_eq!(
        mode(&by_password),
        (password("file-password"), SecretSource::File)
    );
    let by_variable =
        Setup::new("{gateway: {auth: {mode: 'password'}}}").env(env::PASSWORD, "env-password");
    assert_eq!(
        mode(&by_variable),
        (
            password("env-password"),
            SecretSource::Environment(env::PASSWORD)
        )
    );
    let by_flag =
        Setup::new(file).flags(|flags| flags.password = Some(Secret::new("flag-password")));
    assert_eq!(
        mode(&by_flag),
        (password("flag-password"), SecretSource::Flag)
    );
    let chosen =
        "{gateway: {auth: {mode: 'password', token: 'file-token', password: 'file-password'}}}";
    assert_eq!(mode(&Setup::new(chosen)).0, password("file-password"));
    let over = Setup::new(chosen).flags(|flags| flags.auth = Some(RawAuthMode::Token));
    assert_eq!(mode(&over).0, token("file-token"));
    let reference =
        Setup::new("{gateway: {auth: {token: {source: 'env', provider: 'default', id: 'T'}}}}")
            .env("T", "referenced");
    assert_eq!(mode(&reference).0, token("referenced"));
    // The documented examples are run with this very text.
    assert_eq!(
        mode(&Setup::empty().env(env::TOKEN, "YOUR_TOKEN")).0,
        token("YOUR_TOKEN")
    );
}

#[test]
fn secrets_that_cannot_work_are_refused() {
    let two = "token and password are both set; say which one counts with `gateway.auth.mode`";
    check_one(
        "{gateway: {auth: {token: 'long-token', password: 'long-password'}}}",
        &format!("error gateway.auth @1:12 {two}"),
    );
    check_problems(
        &Setup::new("{gateway: {auth: {password: 'long-password'}}}").env(env::TOKEN, "long-token"),
        &[&format!("error gateway.auth @1:12 {two}")],
    );
    check_one(
        "{gateway: {auth: {mode: 'password'}}}",
        "error gateway.auth.mode @1:25 mode \"password\" needs `gateway.auth.password` or OPENCLAW_GATEWAY_PASSWORD",
    );
    check_one(
        "{gateway: {auth: {mode: 'trusted-proxy'}}}",
        "error gateway.auth.mode @1:25 mode \"trusted-proxy\" is not supported; use \"token\" or \"password\"",
    );
    check_one(
        "{gateway: {auth: {token: ' '}}}",
        "error gateway.auth.token @1:26 the secret is blank",
    );
    check_one(
        "{gateway: {auth: {token: '$${X}'}}}",
        "error gateway.auth.token @1:26 the secret holds an unresolved ${…}; names are upper case",
    );
    check_one(
        "{gateway: {auth: {token: 'short'}}}",
        "warning gateway.auth.token @1:26 the secret is shorter than 8 characters and easily guessed",
    );
    check_one(
        "{gateway: {auth: {token: {source: 'file', id: '/x'}}}}",
        "error gateway.auth.token.source @1:35 secrets of source \"file\" are not supported; use \"env\" or ${NAME}",
    );
    check_one(
        "{gateway: {auth: {token: {source: 'env', id: 'NONE'}}}}",
        "error gateway.auth.token.id @1:46 the variable NONE is not set",
    );
    let placeholder = "the secret is a placeholder; choose one of your own";
    let by_variable = Setup::empty().env(env::TOKEN, "undefined");
    check_problems(
        &by_variable,
        &[&format!("error  @OPENCLAW_GATEWAY_TOKEN {placeholder}")],
    );
    let by_flag = Setup::empty().flags(|flags| flags.token = Some(Secret::new("<token>")));
    check_problems(&by_flag, &[&format!("error  @--token {placeholder}")]);
}

#[test]
fn the_rest_of_the_gateway_section_is_checked() {
    check_one(
        "{gateway: {trustedProxies: ['10.0.0.1', 'proxy.local', '10.0.0.0/24']}}",
        "error gateway.trustedProxies[1] @1:41 expected an address or a network such as 10.0.0.0/8, found \"proxy.local\"",
    );
    check_one(
        "{gateway: {http: {securityHeaders: {strictTransportSecurity: true}}}}",
        "error gateway.http.securityHeaders.strictTransportSecurity @1:62 expected a header value or false",
    );
    let hsts = |value: &str| {
        let text = format!(
            "{{gateway: {{http: {{securityHeaders: {{strictTransportSecurity: {value}}}}}}}}}"
        );
        Setup::new(&text)
            .config()
            .transport
            .strict_transport_security
    };
    assert_eq!(hsts("false"), None);
    assert_eq!(hsts("' '"), None);
    assert_eq!(hsts("'max-age=1'").as_deref(), Some("max-age=1"));
    let config = Setup::new(
        "{gateway: {auth: {rateLimit: {maxAttempts: 3, windowMs: 1000, lockoutMs: 2000, exemptLoopback: false}},
          allowRealIpFallback: true, trustedProxies: ['::1'], drainSeconds: 5,
          controlUi: {dangerouslyAllowHostHeaderOriginFallback: true},
          limits: {connections: 7, preauthPerAddress: 6, idlePerAddress: 5, headBytes: 9000, headSeconds: 5, bodyBytes: 4096,
                   bodySeconds: 3, idleSeconds: 2, outboxBytes: 70000,
                   answerBytes: 2000000, answerBytesPerConnection: 1500000},
          http: {endpoints: {chatCompletions: {storeStateless: true}}}}}",
    )
    .config();
    assert_eq!(config.auth.limiter.attempts_max, 3);
    assert_eq!(config.auth.limiter.window, Duration::from_secs(1));
    assert_eq!(config.auth.limiter.lockout, Duration::from_secs(2));
    assert!(!config.auth.limiter.exempt_loopback);
    assert!(config.auth.proxies.allow_real_ip);
    assert!(config.auth.origins.host_header_fallback);
    assert!(config.view.stores_stateless());
    assert_eq!(config.drain, Duration::from_secs(5));
    let expected = TransportConfig {
        connections_max: 7,
        preauth_per_address_max: 6,
        idle_per_address_max: 5,
        head_bytes_max: 9000,
        head_timeout: Duration::from_secs(5),
        body_bytes_max: 4096,
        body_timeout: Duration::from_secs(3),
        idle_timeout: Duration::from_secs(2),
        outbox_bytes_max: 70_000,
        answer_bytes_max: 2_000_000,
        answer_bytes_per_connection_max: 1_500_000,
        ..TransportConfig::default()
    };
    assert_eq!(config.transport, expected);
    let body = "{gateway: {http: {endpoints: {chatCompletions: {maxBodyBytes: 2048}}}}}";
    assert_eq!(Setup::new(body).config().transport.body_bytes_max, 2048);
    let few = Setup::new("{gateway: {limits: {connections: 100}}}").config();
    assert_eq!(few.transport.idle_per_address_max, 25);
    let on = Setup::empty().flags(|flags| flags.chat_enabled = Some(true));
    assert!(on.config().transport.chat_enabled);
}

#[test]
fn the_control_ui_is_a_folder_with_a_document_at_a_plain_path() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("ui");
    let text = |rest: &str| {
        let root = root.display();
        format!("{{gateway: {{\n  controlUi: {{root: '{root}'{rest}}}}}}}")
    };
    let served = |rest: &str| Setup::new(&text(rest)).config().transport.control_ui;
    let warns = |found: &str| {
        let setup = Setup::new(&text(""));
        let root = root.display();
        check_problems(
            &setup,
            &[&format!(
                "warning gateway.controlUi.root @2:21 there is no {found} {root}"
            )],
        );
        assert!(setup.config().transport.serves_control_ui());
    };
    warns("folder");
    std::fs::create_dir(&root).unwrap();
    warns("index.html in");
    std::fs::write(root.join("index.html"), "").unwrap();
    check_problems(&Setup::new(&text("")), &[]);
    let at = |base_path: &str| {
        Some(ControlUiConfig {
            root: Some(root.clone()),
            base_path: base_path.to_owned(),
        })
    };
    assert_eq!(served(""), at(""));
    for (base_path, expected) in [("/", ""), ("x", "/x"), (" /a/b-c/ ", "/a/b-c")] {
        assert_eq!(served(&format!(", basePath: '{base_path}'")), at(expected));
    }
    assert_eq!(served(", enabled: false"), None);
    for nowhere in ["{}", "{gateway: {controlUi: {root: ' '}}}"] {
        let page = Setup::new(nowhere).config().transport.control_ui.unwrap();
        assert_eq!(
            (page.root, page.base_path.as_str()),
            (None, ""),
            "{nowhere}"
        );
    }
    for base_path in ["/a b", "/a//b", "/../b", "/\"", "/ü", "/a?b"] {
        let setup = Setup::new(&text(&format!(", basePath: '{base_path}'")));
        let expected = format!(
            "error gateway.controlUi.basePath @2:{} expected a path such as /openclaw, found {base_path:?}",
            35 + root.display().to_string().chars().count()
        );
        check_problems(&setup, &[&expected]);
    }
    let beside = Setup::new("{gateway: {controlUi: {root: 'ui'}}}").config();
    let beside = beside.transport.control_ui.unwrap().root.unwrap();
    assert!(beside.is_absolute() && beside.ends_with("ui"), "{beside:?}");
}

#[test]
fn queue_store_and_events_reach_their_modules() {
    let config = Setup::new(
        "{messages: {queue: {mode: 'steer+backlog', debounceMs: 1, cap: 2, drop: 'summarize', waitSeconds: 3, totalCap: 4, partyCap: 3}},
          store: {durability: 'normal', retainDays: 0, retainSessions: 5, retainRuns: 6},
          events: {logBytes: 5000, keepSeconds: 7, outputBytes: 2048},
          logging: {level: 'trace', consoleLevel: 'silent', consoleStyle: 'json'}}",
    )
    .config();
    assert_eq!(config.scheduler.queue.mode, Some(QueueMode::Steer));
    assert_eq!(config.scheduler.queue.debounce, Duration::from_millis(1));
    assert_eq!(config.scheduler.queue.cap, 2);
    assert_eq!(
        config.scheduler.queue.drop,
        crate::scheduler::DropPolicy::Summarize
    );
    assert_eq!(config.scheduler.wait, Duration::from_secs(3));
    assert_eq!(config.scheduler.waiting_max, 4);
    assert_eq!(config.scheduler.credential_waiting_max, 1);
    assert_eq!(config.scheduler.party_waiting_max, 3);
    assert_eq!(config.store.durability, crate::session::Durability::Normal);
    let retention = config.store.retention;
    assert_eq!(
        (retention.days, retention.sessions_max, retention.runs_max),
        (0, 5, 6)
    );
    assert_eq!(config.logs.log.event_bytes_max, 5000);
    assert_eq!(config.logs.keep, Duration::from_secs(7));
    assert_eq!(config.agents.list[0].limits.output_bytes_max, 2048);
    assert_eq!(config.logging.level, LogLevel::Off);
    assert_eq!(config.logging.format, Some(LogFormat::Json));
    for key in ["''", "' '", "'a:b'", "'a b'"] {
        check_one(
            &format!("{{session: {{mainKey: {key}}}}}"),
            "error session.mainKey @1:21 expected 1 to 128 characters without `:`, space or control characters",
        );
    }
}

#[test]
fn agents_are_checked() {
    check_one(
        "{agents: {list: [{id: 'a', default: true}, {id: 'A'}]}}",
        "error agents.list[1].id @1:49 there are two agents with the id `a`",
    );
    check_one(
        "{agents: {list: [{id: 'a', default: true}, {id: 'b', default: true}]}}",
        "warning agents.list[1].default @1:63 another agent is the default already; this mark is ignored",
    );
    let several = Setup::new("{agents: {list: [{id: 'a'}, {id: 'b', default: false}]}}");
    check_problems(
        &several,
        &[
            "warning agents.list @1:11 several agents and none has `default: true`; every request has to name one",
        ],
    );
    assert_eq!(several.config().agents.default, None);
    let with_main = Setup::new("{agents: {list: [{id: 'a'}, {id: ' Main '}, {id: 'b'}]}}");
    check_problems(&with_main, &[]);
    assert_eq!(
        with_main.config().agents.default,
        AgentId::parse("main").ok()
    );
    check_one(
        "{models: {aliases: {'gpt-4o': 'nobody'}}}",
        "error models.aliases.gpt-4o @1:31 there is no agent `nobody`",
    );
    let aliases = Setup::new("{models: {aliases: {'gpt-4o': 'MAIN'}}}")
        .config()
        .agents
        .aliases;
    assert_eq!(
        aliases,
        [("gpt-4o".into(), AgentId::parse("main").unwrap())]
    );
    let config = Setup::new(
        "{agents: {defaults: {systemPrompt: 'all', timeoutSeconds: 0, idleSeconds: 0, reasoningDefault: 'on', abortGraceMs: 1, restartable: true},
          list: [{id: 'a', name: 'A'}, {id: 'b', systemPrompt: 'own', timeoutSeconds: 5, idleSeconds: 6,
                  maxConcurrent: 7, weight: 8, reasoningDefault: 'off', restartable: false}]}}",
    )
    .config();
    let [a, b] = config.agents.list.as_slice() else {
        panic!("two agents");
    };
    assert_eq!(
        (a.name.as_deref(), a.system.as_deref(), a.show_reasoning),
        (Some("A"), Some("all"), true)
    );
    assert_eq!(
        (a.limits.run, a.limits.idle, a.limits.weight),
        (None, None, 1)
    );
    assert_eq!(
        (b.system.as_deref(), b.show_reasoning),
        (Some("own"), false)
    );
    assert_eq!(b.limits.run, Some(Duration::from_secs(5)));
    assert_eq!(b.limits.idle, Some(Duration::from_secs(6)));
    assert_eq!((b.limits.concurrent_max, b.limits.weight), (7, 8));
    assert_eq!((a.limits.restartable, b.limits.restartable), (true, false));
    assert_eq!(b.limits.abort_grace, Duration::from_millis(1));
}

#[test]
fn models_that_name_nothing_are_reported_where_they_are_written() {
    let provider = "models: {providers: {local: {baseUrl: 'http://127.0.0.1:1/v1', models: [{id: 'llama3.2'}]}}}";
    check_one(
        "{agents: {list: [{id: 'a', model: 'llama'}]}}",
        "error agents.list[0].model @1:35 expected \"provider/model\", found \"llama\"",
    );
    check_one(
        &format!("{{agents: {{defaults: {{model: {{primary: 'locl/x'}}}}}}, {provider}}}"),
        "error agents.defaults.model.primary @1:39 there is no provider `locl`; did you mean `local`?",
    );
    check_one(
        &format!("{{agents: {{defaults: {{model: 'local/llama3.1'}}}}, {provider}}}"),
        "warning agents.defaults.model @1:29 not in the models of provider `local`; did you mean `llama3.2`?",
    );
    check_one(
        &format!("{{agents: {{defaults: {{model: 'local/qwen'}}}}, {provider}}}"),
        "warning agents.defaults.model @1:29 not in the models of provider `local`; its context window is not known",
    );
    check_one(
        "{agents: {defaults: {model: 'sim/ekko'}}}",
        "error agents.defaults.model @1:29 sim has no mode \"ekko\": use demo, echo, lorem or script",
    );
    check_one(
        "{agents: {defaults: {model: {primary: 'sim/echo', fallbacks: ['sim/demo']}}}}",
        "error agents.defaults.model.primary @1:39 a simulated model has no fallbacks and is none",
    );
    let setup = Setup::new("{agents: {defaults: {model: 'anthropic/claude'}}}");
    check_problems(
        &setup,
        &[
            "warning agents.defaults.model @1:29 there is no `models.providers.anthropic`; runs that need it will fail",
        ],
    );
    let backend = &setup.config().agents.list[0].backend;
    assert!(
        matches!(backend, Backend::Unavailable(reason) if &**reason == "provider anthropic is not configured")
    );
    let fallback = Setup::new(&format!(
        "{{agents: {{defaults: {{model: {{primary: 'anthropic/claude', fallbacks: ['local/llama3.2']}}}}}}, {provider}}}"
    ));
    let agent = &fallback.config().agents.list[0];
    assert!(matches!(&agent.backend, Backend::Model(model) if model.endpoints.len() == 1));
    assert_eq!(agent.models.len(), 2);
}

#[test]
fn providers_are_checked() {
    let provider = |keys: &str| {
        Setup::new(&format!(
            "{{models: {{providers: {{p: {{{keys}}}}}}}, agents: {{defaults: {{model: 'p/m'}}}}}}"
        ))
    };
    let url = "baseUrl: 'http://h/v1'";
    check_problems(
        &provider(""),
        &[
            "warning models.providers.p @1:23 the provider has no `baseUrl`; runs that need it will fail",
        ],
    );
    check_problems(
        &provider("baseUrl: 'h:1'"),
        &[
            "error models.providers.p.baseUrl @1:36 not an absolute URL such as http://127.0.0.1:11434/v1",
        ],
    );
    check_problems(
        &provider(&format!("{url}, api: 'anthropic-messages'")),
        &[
            "warning models.providers.p.api @1:56 api \"anthropic-messages\" is not supported; runs that need it will fail",
        ],
    );
    check_problems(
        &provider(&format!("{url}, apiKey: 'a\\nb'")),
        &[
            "error models.providers.p.apiKey @1:59 the value of apiKey holds a character that cannot be sent",
        ],
    );
    check_problems(
        &provider(&format!("{url}, apiKey: '${{key}}'")),
        &[
            "error models.providers.p.apiKey @1:59 the secret holds an unresolved ${…}; names are upper case",
        ],
    );
    check_problems(
        &provider(&format!("{url}, apiKey: {{source: 'exec', id: 'x'}}")),
        &[
            "warning models.providers.p.apiKey @1:51 secrets of source \"exec\" are not supported; runs that need it will fail",
        ],
    );
    check_problems(
        &provider(&format!(
            "{url}, headers: {{host: 'x', 'a b': 'y', ok: 'z'}}"
        )),
        &[
            "error models.providers.p.headers[\"a b\"] @1:79 \"a b\" is not a header name",
            "error models.providers.p.headers.host @1:67 host cannot be set",
        ],
    );
    check_problems(
        &provider(&format!(
            "{url}, models: [{{id: 'm', compat: {{maxTokensField: 'tokens'}}}}]"
        )),
        &[
            "error models.providers.p.models[0].compat.maxTokensField @1:95 expected max_tokens or max_completion_tokens, found \"tokens\"",
        ],
    );
    check_one(
        "{models: {providers: {sim: {}}}}",
        "error models.providers.sim @1:23 the name `sim` is taken by the built-in simulated models",
    );
    let full = provider(&format!(
        "{url}, apiKey: {{source: 'env', id: 'KEY'}}, headers: {{'X-A': '${{KEY}}'}}, timeoutSeconds: 5, retries: 0,
         models: [{{id: 'm', compat: {{maxTokensField: 'max_completion_tokens'}}}}]"
    ))
    .env("KEY", "sk-1");
    let Backend::Model(model) = full.config().agents.list[0].backend.clone() else {
        panic!("not a model agent");
    };
    assert_eq!(model.retries, 0);
    let endpoint = &model.endpoints[0];
    assert!(endpoint.api_key.is_some());
    assert_eq!(endpoint.timeouts.idle, Duration::from_secs(5));
    assert_eq!(
        endpoint.token_limit_field,
        crate::agent::model::TokenLimitField::MaxCompletionTokens
    );
}

#[test]
fn simulated_agents_take_knobs_from_defaults_agent_and_name() {
    let config = Setup::new(
        "{agents: {defaults: {model: 'sim/lorem?tps=100&tokens=9', sim: {tokens: 1, seed: 2, interTokenMs: 3}},
          list: [{id: 'a', sim: {seed: 4, jitter: 'normal'}}]}}",
    )
    .config();
    let Backend::Sim(sim) = &config.agents.list[0].backend else {
        panic!("not simulated");
    };
    assert_eq!((sim.tokens, sim.seed), (9, 4));
    assert_eq!(sim.inter_token, Duration::from_millis(10));
    assert_eq!(sim.jitter, crate::agent::sim::Jitter::Normal);
    assert_eq!(&*config.agents.models[0].name, "lorem?tps=100&tokens=9");
    check_one(
        "{agents: {list: [{id: 'a', sim: {tokens: -1}}]}}",
        "error agents.list[0].sim.tokens @1:42 the sim knob tokens cannot be \"-1\": a number of tokens, at most 1000000",
    );
}

#[test]
fn scripts_are_read_beside_the_configuration() {
    let setup = Setup::new("{agents: {defaults: {model: 'sim/script?file=s.json5'}}}");
    check_problems(
        &setup,
        &["error  @DIR/s.json5 the file cannot be read: No such file or directory (os error 2)"],
    );
    setup.write("s.json5", "[{steps: [{say: 'hi'},\n {sleepMs: NaN}]}]");
    check_problems(&setup, &["error  @2:12 `NaN` is not a finite number"]);
    setup.write("s.json5", "{}");
    check_problems(
        &setup,
        &["error  @DIR/s.json5 the script cannot be used: not a list of rules with steps"],
    );
    setup.write("s.json5", "[{steps: [{say: 'hi'}]}]");
    let Backend::Sim(sim) = &setup.config().agents.list[0].backend else {
        panic!("not simulated");
    };
    assert!(sim.script.is_some());
    check_one(
        "{agents: {defaults: {model: 'sim/script'}}}",
        "error agents.defaults.model @1:29 sim/script needs a script: `sim/script?file=PATH`",
    );
}

#[test]
fn what_is_shown_holds_no_secret() {
    let text = "{ // token was: file-secret-1\n gateway: { auth: { token: 'file-secret-1' } },
      models: { providers: { p: { baseUrl: 'http://h/v1', apiKey: 'sk-file-2', headers: { X: 'header-3' } },
                             q: { baseUrl: 'http://h/v1', apiKey: '${Q}' } } },
      channels: { t: { botToken: 'bot-4' } }, env: { Q: 'env-5' } }";
    let setup = Setup::new(text);
    let config = setup.config();
    let shown = format!("{:?} {config:?}", config.view.snapshot());
    for secret in ["file-secret-1", "sk-file-2", "header-3", "bot-4", "env-5"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let snapshot = config.view.snapshot();
    assert!(snapshot.exists);
    let raw = snapshot.raw.unwrap();
    assert!(raw.contains("token: \"__OPENCLAW_REDACTED__\""), "{raw}");
    assert!(raw.contains("apiKey: '${Q}'"), "{raw}");
    assert_eq!(
        snapshot.parsed["gateway"]["auth"]["token"],
        "__OPENCLAW_REDACTED__"
    );
    assert_eq!(
        snapshot.parsed["models"]["providers"]["q"]["apiKey"],
        "${Q}"
    );
    assert_eq!(
        snapshot.effective["gateway"]["auth"]["token"],
        "__OPENCLAW_REDACTED__"
    );
    assert_eq!(snapshot.effective["gateway"]["auth"]["mode"], "token");
    assert_eq!(snapshot.effective["env"], Json::Null);
    assert_eq!(snapshot.hash.len(), 64);
    assert_eq!(
        snapshot.warnings,
        [(
            "channels".into(),
            "the section is not used by clawport".into()
        )]
    );
    // What is shown can be read back, though not used: the secrets have to be put in again.
    let again = Setup::new(&raw);
    let problems = again.problems();
    let replaced = |key: &str| {
        let starts = |problem: &&String| problem.starts_with(&format!("error {key} "));
        let found = problems.iter().find(starts);
        found.is_some_and(|problem| problem.ends_with("was shown; put it in again"))
    };
    for key in [
        "gateway.auth.token",
        "models.providers.p.apiKey",
        "models.providers.p.headers.X",
    ] {
        assert!(replaced(key), "{key}: {problems:?}");
    }
}

#[test]
fn reports_show_the_line_but_never_a_secret_on_it() {
    let setup = Setup::new("{\n  gateway: { auth: { token: 'hunter2' }, prot: 1 },\n}");
    let report = setup.load().unwrap_err();
    let name = setup.dir.path().join("openclaw.json").display().to_string();
    let shown = report.render(Colour::Off).replace(&name, "FILE");
    assert_eq!(
        shown,
        "error: gateway.prot: unknown key `prot`; did you mean `port`?
 --> FILE:2:42
  |
2 |   gateway: { auth: { token: '*******' }, prot: 1 },
  |                                          ^^^^

warning: gateway.auth.token: the secret is shorter than 8 characters and easily guessed
 --> FILE:2:29
  |
2 |   gateway: { auth: { token: '*******' }, prot: 1 },
  |                             ^^^^^^^^^

1 error, 1 warning
"
    );
    assert_eq!(report.count(Severity::Error), 1);
    assert!(!report.is_empty());
    let coloured = report.render(Colour::On);
    assert!(coloured.contains("\u{1b}["), "{coloured}");
}

#[test]
fn a_secret_without_quotes_is_not_repeated() {
    let setup = Setup::new("{gateway: {auth: {token: hunter2, password: 0x }}}");
    let shown = setup.load().unwrap_err().render(Colour::Off);
    assert!(
        !shown.contains("hunter2") && !shown.contains("0x"),
        "{shown}"
    );
    assert!(
        shown.contains("unknown word; a string needs quotes"),
        "{shown}"
    );
    assert!(
        shown.contains("not a number; a string needs quotes"),
        "{shown}"
    );
}

#[test]
fn reports_name_flags_and_show_the_first_of_two_keys() {
    let setup = Setup::new("{store: {}, store: {}}").env(env::PORT, "x");
    let shown = setup.load().unwrap_err().render(Colour::Off);
    assert!(shown.contains("--> OPENCLAW_GATEWAY_PORT"), "{shown}");
    assert!(shown.contains("first here"), "{shown}");
    assert!(shown.contains("the key `store` stands twice"), "{shown}");
}

#[test]
fn a_valid_configuration_has_an_effective_one_that_is_valid_too() {
    let config = Setup::new(ORIGINAL)
        .env("MY_TOKEN", "a-long-token")
        .config();
    let mut effective = config.view.snapshot().effective;
    effective["gateway"]["auth"]["token"] = "a-long-token".into();
    effective["models"]["providers"]["local"]["apiKey"] = "none".into();
    let again = Setup::new(&effective.to_string());
    assert_eq!(again.problems(), Vec::<String>::new());
    let mut second = again.config().view.snapshot().effective;
    second["gateway"]["auth"]["token"] = "a-long-token".into();
    second["models"]["providers"]["local"]["apiKey"] = "none".into();
    assert_eq!(second, effective);
}

#[test]
fn many_problems_are_bounded() {
    let members: Vec<String> = (0..5000).map(|n| format!("k{n}: {n}")).collect();
    let setup = Setup::new(&format!(
        "{{store: {{{}}}, gateway: {{port: -1}}}}",
        members.join(", ")
    ));
    let problems = setup.problems();
    assert!(
        problems.len() <= problem::PROBLEMS_MAX,
        "{}",
        problems.len()
    );
    assert!(
        problems[0].starts_with("error gateway.port"),
        "{}",
        problems[0]
    );
}

proptest! {
    /// The reader's own tests show that it copes with any text; here everything after it does too,
    /// up to the picture of the line.
    #[test]
    fn no_file_makes_loading_or_showing_panic(
        parts in prop::collection::vec(
            prop_oneof![
                Just("{"), Just("}"), Just("["), Just("]"), Just(":"), Just(","), Just("'"),
                Just("\\"), Just("\n"), Just("\r\n"), Just("\t"), Just("// é\n"),
                Just("gateway: {"), Just("port: "), Just("prot: "), Just("auth: {"),
                Just("token: 'hunter2'"), Just("token: 'é\u{1F600}'"), Just("agents: {"),
                Just("list: ["), Just("{id: 'a'}"), Just("models: {"), Just("providers: {"),
                Just("model: 'sim/echo'"), Just("$include: "), Just("'openclaw.json'"),
                Just("${NONE}"), Just("env: {"), Just("channels: {"), Just("1"), Just("-5"),
                Just("true"), Just("null"), Just("日本"), Just("\u{2028}"), Just("\u{1b}[31m"),
            ],
            0..40,
        )
    ) {
        let setup = Setup::new(&parts.concat());
        let report = match setup.load() {
            Ok(loaded) => {
                prop_assert_eq!(loaded.report.count(Severity::Error), 0);
                loaded.report
            }
            Err(report) => {
                prop_assert!(report.count(Severity::Error) > 0);
                report
            }
        };
        let shown = report.render(Colour::Off);
        prop_assert!(!shown.contains("hunter2"), "{shown}");
        let listed = report.entries();
        let every = listed.iter().all(|entry| entry.line.is_none() == entry.column.is_none());
        prop_assert!(every, "{listed:?}");
    }
}
