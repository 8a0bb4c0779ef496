//! Keys of an OpenClaw configuration that clawport does not use.
//!
//! They are warned about, never taken for misspellings of keys we know, so that a configuration of
//! the original starts as it stands. Keys far from any of ours need not be listed.

/// Sections at the top that belong to others.
const SECTIONS: &[&str] = &[
    "$schema",
    "accessGroups",
    "acp",
    "approvals",
    "audio",
    "auth",
    "bindings",
    "broadcast",
    "browser",
    "canvasHost",
    "channels",
    "cli",
    "commands",
    "commitments",
    "cron",
    "crestodian",
    "diagnostics",
    "discovery",
    "hooks",
    "mcp",
    "media",
    "memory",
    "meta",
    "nodeHost",
    "plugins",
    "proxy",
    "secrets",
    "skills",
    "surfaces",
    "talk",
    "tools",
    "transcripts",
    "tts",
    "ui",
    "update",
    "vault",
    "web",
    "wizard",
];

/// Keys inside sections we own, by section.
const KEYS: &[(&str, &[&str])] = &[
    (
        "gateway",
        &[
            "channelHealthCheckMinutes",
            "channelMaxRestartsPerHour",
            "channelStaleEventThresholdMinutes",
            "handshakeTimeoutMs",
            "mode",
            "push",
            "reload",
            "remote",
            "tailscale",
            "terminal",
            "tls",
            "tools",
            "webchat",
        ],
    ),
    (
        "gateway.auth",
        &[
            "allowTailscale",
            "deviceToken",
            "identity",
            "oidc",
            "trustedProxy",
            "userScopes",
        ],
    ),
    ("gateway.auth.rateLimit", &["pruneIntervalMs"]),
    (
        "gateway.controlUi",
        &[
            "allowExternalEmbedUrls",
            "allowInsecureAuth",
            "chatMessageMaxWidth",
            "dangerouslyDisableDeviceAuth",
            "embedSandbox",
            "url",
        ],
    ),
    (
        "gateway.nodes",
        &["allowCommands", "browser", "denyCommands"],
    ),
    ("gateway.nodes.pairing", &["autoApproveCidrs"]),
    (
        "gateway.http.endpoints",
        &["responses", "embeddings", "models"],
    ),
    (
        "gateway.http.endpoints.chatCompletions",
        &["maxImageParts", "maxTotalImageBytes"],
    ),
    ("agents", &["entries"]),
    (
        "agents.defaults",
        &[
            "agentRuntime",
            "additionalSystemPrompt",
            "blockStreamingBreak",
            "blockStreamingChunk",
            "blockStreamingCoalesce",
            "blockStreamingDefault",
            "bootstrapMaxChars",
            "bootstrapTotalMaxChars",
            "cliBackends",
            "compaction",
            "contextPruning",
            "contextTokens",
            "contextWindow",
            "elevatedDefault",
            "embeddedPi",
            "heartbeat",
            "humanDelay",
            "imageGenerationModel",
            "imageMaxDimensionPx",
            "imageModel",
            "maxConcurrentSubagents",
            "mediaMaxMb",
            "memorySearch",
            "models",
            "params",
            "pdfMaxBytesMb",
            "pdfMaxPages",
            "pdfModel",
            "promptOverlays",
            "repoRoot",
            "runtime",
            "sandbox",
            "skills",
            "skipBootstrap",
            "subagents",
            "systemPromptOverride",
            "thinkingDefault",
            "timeFormat",
            "typingIntervalSeconds",
            "typingMode",
            "userTimezone",
            "utilityModel",
            "verboseDefault",
            "videoGenerationModel",
            "workspace",
        ],
    ),
    (
        "agents.list[]",
        &[
            "agentDir",
            "agentRuntime",
            "contextTokens",
            "contextWindow",
            "description",
            "groupChat",
            "heartbeat",
            "humanDelay",
            "kind",
            "memorySearch",
            "models",
            "owner",
            "params",
            "runtime",
            "sandbox",
            "skills",
            "statusUpdates",
            "subagents",
            "systemPromptOverride",
            "thinkingDefault",
            "tools",
            "tts",
            "verboseDefault",
            "workspace",
        ],
    ),
    ("agents.list[].identity", &["avatarUrl", "creature", "vibe"]),
    (
        "models",
        &["bedrockDiscovery", "catalog", "mode", "pricing", "proxy"],
    ),
    (
        "models.providers.*",
        &[
            "auth",
            "authHeader",
            "injectNumCtxForOpenAICompat",
            "params",
            "request",
            "region",
            "localService",
        ],
    ),
    (
        "models.providers.*.models[]",
        &[
            "api",
            "baseUrl",
            "contextTokens",
            "cost",
            "headers",
            "mediaInput",
            "params",
            "thinkingLevelMap",
        ],
    ),
    (
        "models.providers.*.models[].compat",
        &[
            "nativeWebSearchTool",
            "requiresAssistantAfterToolResult",
            "requiresMistralToolIds",
            "requiresThinkingAsText",
            "requiresToolResultName",
            "supportsDeveloperRole",
            "supportsPromptCacheKey",
            "supportsReasoningEffort",
            "supportsStore",
            "supportsStrictMode",
            "supportsTools",
            "supportsUsageInStreaming",
            "thinkingFormat",
            "toolCallArgumentsEncoding",
            "toolSchemaProfile",
        ],
    ),
    (
        "messages",
        &[
            "ackReaction",
            "ackReactionScope",
            "groupChat",
            "inbound",
            "messagePrefix",
            "removeAckAfterReply",
            "responsePrefix",
            "statusReactions",
            "suppressToolErrors",
            "tts",
            "visibleReplies",
        ],
    ),
    ("messages.queue", &["byChannel", "debounceMsByChannel"]),
    (
        "session",
        &[
            "agentToAgent",
            "dmScope",
            "identityLinks",
            "idleMinutes",
            "maintenance",
            "parentForkMaxTokens",
            "reset",
            "resetByChannel",
            "resetByType",
            "resetTriggers",
            "scope",
            "sendPolicy",
            "store",
            "threadBindings",
            "typingIntervalSeconds",
            "typingMode",
            "writeLock",
        ],
    ),
    (
        "logging",
        &["file", "maxFileBytes", "redactPatterns", "redactSensitive"],
    ),
];

/// Whether a section at the top is one the original knows.
pub(super) fn is_section(key: &str) -> bool {
    SECTIONS.contains(&key)
}

/// Whether a key is one the original knows in this section; `section` has `[]` for list positions
/// and `*` for names chosen by the operator.
pub(super) fn is_key(section: &str, key: &str) -> bool {
    KEYS.iter()
        .any(|(name, keys)| *name == section && keys.contains(&key))
}

#[cfg(test)]
mod tests {
    use super::super::schema::{resolve, schema};
    use super::*;

    #[test]
    fn every_listed_section_is_in_the_schema_and_no_listed_key_is() {
        for (section, keys) in KEYS {
            let mut node = schema();
            for step in section.split('.') {
                let (name, item) = match step.strip_suffix("[]") {
                    Some(name) => (name, true),
                    None => (step, false),
                };
                node = resolve(node);
                node = if name == "*" {
                    &node["additionalProperties"]
                } else {
                    &node["properties"][name]
                };
                node = if item { &node["items"] } else { node };
                assert!(node.is_object(), "{section} is not in the schema");
            }
            let properties = resolve(node)["properties"].as_object().unwrap();
            for key in *keys {
                assert!(!properties.contains_key(*key), "{section}.{key} is ours");
            }
        }
        let own = schema()["properties"].as_object().unwrap();
        assert!(SECTIONS.iter().all(|section| !own.contains_key(*section)));
    }
}
