//! What is measured beside what: the first case of a group is its floor.

use crate::child::Child;
use crate::gateway::TOKEN;
use crate::measure::{Case, Plan};
use crate::upstream::{LONG, SHORT, TWENTY};
use crate::{fan, http, native};

/// The processes that are measured.
pub(crate) struct Servers {
    floor_http: Child,
    floor_twin: Child,
    floor_ws: Child,
    floor_fan: Child,
    floor_proxy: Child,
    gateway: Child,
    _model: Child,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let model = Child::start("--serve-model");
        let upstream = Some(model.addr);
        Self {
            floor_http: Child::start("--serve-floor-http"),
            floor_twin: Child::start("--serve-floor-http"),
            floor_ws: Child::start("--serve-floor-ws"),
            floor_fan: Child::start("--serve-floor-fan"),
            floor_proxy: Child::start_before("--serve-floor-proxy", upstream),
            gateway: Child::start_before("--serve-gateway", upstream),
            _model: model,
        }
    }
}

type Group<'a> = (&'static str, Vec<Case<'a>>);

/// Every group, in the order of the table.
pub(crate) fn all<'a>(servers: &'a Servers, plan: &Plan) -> Vec<Group<'a>> {
    let mut groups = simulated(servers);
    groups.extend(native(servers, plan));
    groups.extend(through_a_model_server(servers));
    groups
}

fn chat<'a>(servers: &'a Servers, agent: &str, stream: bool, user: bool) -> Case<'a> {
    http::chat(&servers.gateway, TOKEN, agent, stream, user)
}

fn simulated(servers: &Servers) -> Vec<Group<'_>> {
    let floor = &servers.floor_http;
    let typed = || http::post("typed floor", floor, "/typed", 64);
    let chunks = || http::get("flush per chunk floor", floor, "/sse", 16);
    let rich = |agent| http::rich_chat(&servers.gateway, TOKEN, agent);
    vec![
        (
            "A/A: typed floor against itself, 64 clients",
            vec![
                typed(),
                http::post("floor again", &servers.floor_twin, "/typed", 64),
            ],
        ),
        (
            "T1 T18 chat, stateless, 64 clients",
            vec![typed(), chat(servers, "main", false, false)],
        ),
        (
            "T2 chat on a `user` session, durable, 64 clients",
            vec![typed(), chat(servers, "main", false, true)],
        ),
        (
            "T3 /healthz, 64 clients",
            vec![
                http::get("bare floor", floor, "/bare", 64),
                http::get("healthz", &servers.gateway, "/healthz", 64),
            ],
        ),
        (
            "T4 SSE, 200 tokens, one yield each, 16 clients",
            vec![chunks(), chat(servers, "yield", true, false), rich("yield")],
        ),
        (
            "T5 SSE, 200 tokens at once, 16 clients",
            vec![chunks(), chat(servers, "ready", true, false), rich("ready")],
        ),
    ]
}

fn native<'a>(servers: &'a Servers, plan: &Plan) -> Vec<Group<'a>> {
    let echo = || native::echo("tungstenite 4 KiB echo", &servers.floor_ws, 64);
    let gateway = &servers.gateway;
    vec![
        (
            "T6 native request (health), 64 connections",
            vec![echo(), native::health("health", gateway, TOKEN, 64)],
        ),
        (
            "native runs (agent, two responses), durable, 64 connections",
            vec![echo(), native::agent_runs("agent", gateway, TOKEN, 64)],
        ),
        (
            "T7 fan-out in bursts, per frame at a subscriber",
            vec![
                fan::case(
                    "queue and flush floor",
                    &servers.floor_fan,
                    None,
                    plan.crowd,
                ),
                fan::case("injected messages", gateway, Some(TOKEN), plan.crowd),
            ],
        ),
    ]
}

fn through_a_model_server(servers: &Servers) -> Vec<Group<'_>> {
    let floor = &servers.floor_proxy;
    vec![
        (
            "T14 chat through a model server, 64 clients",
            vec![
                http::post("typed proxy floor", floor, "/typed", 64),
                chat(servers, SHORT, false, false),
            ],
        ),
        (
            "T15 SSE through a model server, 200 tokens, 16 clients",
            vec![
                http::post("flush per chunk floor", floor, "/sse", 16),
                chat(servers, LONG, true, false),
            ],
        ),
        (
            "SSE through a model server, 20 tokens, 16 clients",
            vec![
                http::post("200 tokens through the floor", floor, "/sse", 16),
                chat(servers, TWENTY, true, false),
            ],
        ),
    ]
}
