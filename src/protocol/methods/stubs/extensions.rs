//! What the original adds to agents and to its page: skills, plugins, voices, memory, themes,
//! accounts of people and of services.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, NoItems, NoMembers};
use crate::protocol::Bounded;
use crate::protocol::NonEmpty;
use crate::protocol::params::params;

params! {
    /// Parameters of `skills.status`.
    SkillsStatusParams {
        unused { agent_id: NonEmpty, session_key: NonEmpty }
    }
}

params! {
    /// Parameters of `skills.search`.
    SkillsSearchParams {
        unused { query: NonEmpty, limit: Bounded<1, 100> }
    }
}

params! {
    /// Parameters of `plugins.catalog.browse`.
    PluginsBrowseParams {
        unused { intent: NonEmpty, query: NonEmpty, page_size: Bounded<1, 1000>, cursor: NonEmpty }
    }
}

params! {
    /// Parameters of `skills.library.list`.
    SkillLibraryParams {
        unused { scope: NonEmpty, session_key: NonEmpty }
    }
}

params! {
    /// Parameters of `skills.proposals.list`.
    SkillProposalsParams {
        unused { agent_id: NonEmpty }
    }
}

results! {
    /// The result of `skills.status`.
    SkillsStatus(_) {
        /// Where an agent's own skills would be: nowhere.
        workspace_dir: String = String::new(),
        /// Where shared skills would be: nowhere.
        managed_skills_dir: String = String::new(),
        /// The skills: none.
        skills: NoItems = [],
    }

    /// The result of `skills.search`.
    SkillsSearch(_) {
        /// Skills that could be installed: none, no registry is asked.
        results: NoItems = [],
    }

    /// The result of `skills.library.list`.
    SkillLibrary(_) {
        /// Skills that were written here: none.
        entries: NoItems = [],
        /// The person whose library it is: nobody has one.
        profile_id: () = (),
        /// Whether several people have one.
        multiple_profiles: bool = false,
        /// Where a new skill would go: nowhere.
        default_target: &'static str = "unavailable",
        /// Whether the caller may change the skills of an agent.
        can_manage_workspace: bool = false,
        /// Most skills a new session has.
        default_selection_limit: u64 = 0,
    }

    /// The result of `skills.proposals.list`.
    SkillProposals(_) {
        /// The form of the list.
        schema: &'static str = "openclaw.skill-workshop.proposals-manifest.v1",
        /// When it last changed: never.
        updated_at: &'static str = "1970-01-01T00:00:00.000Z",
        /// Skills that agents propose: none.
        proposals: NoItems = [],
        /// Skills that are there: none.
        installed_skills: NoItems = [],
    }

    /// The result of `plugins.list`.
    PluginsList(_) {
        /// Plugins: none, this program has no place for any.
        plugins: NoItems = [],
        /// Problems with them.
        diagnostics: NoItems = [],
        /// Whether plugins can be added or removed.
        mutation_allowed: bool = false,
    }

    /// The result of `plugins.catalog.browse`.
    PluginsBrowse(_) {
        /// Plugins that could be added: none, this program has no place for any.
        items: NoItems = [],
    }

    /// The result of `talk.catalog`.
    TalkCatalog(_) {
        /// How one can talk with an agent: not by voice.
        modes: NoItems = [],
        /// How a voice would travel.
        transports: NoItems = [],
        /// What would answer it.
        brains: NoItems = [],
        /// Who could speak.
        speech: Voices = Voices::default(),
        /// Who could write down what is said.
        transcription: VoiceService = VoiceService::default(),
        /// Who could do both at once.
        realtime: VoiceService = VoiceService::default(),
    }

    /// The result of `themes.list`.
    ThemesList(_) {
        /// Themes kept by the gateway: none; the page brings its own.
        themes: NoItems = [],
        /// The theme the page uses: its own default.
        current: CurrentTheme = CurrentTheme::default(),
        /// The same, as it is described.
        theme: ThemeInfo = ThemeInfo::default(),
    }

    /// The result of `users.list`.
    UsersList(_) {
        /// People with a profile: none.
        profiles: NoItems = [],
    }
}

/// Who could speak: nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Voices {
    /// Services.
    pub providers: NoItems,
}

/// A service for voices: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VoiceService {
    /// Whether one can be used.
    pub ready: bool,
    /// Services.
    pub providers: NoItems,
}

/// A theme of the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CurrentTheme {
    /// Its id.
    pub id: &'static str,
    /// Light, dark, or as the system is.
    pub mode: &'static str,
    /// Whose choice it is: nobody made one.
    pub scope: &'static str,
    /// What was chosen.
    pub overrides: NoMembers,
}

/// What is told of a theme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ThemeInfo {
    /// Its id.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it looks like.
    pub description: &'static str,
    /// Who brings it: the page.
    pub source: &'static str,
    /// The modes it has.
    pub modes: [&'static str; 2],
}

impl Default for ThemeInfo {
    fn default() -> Self {
        Self {
            id: "claw",
            name: "Claw",
            description: "The look the page has when nobody chooses another.",
            source: "builtin",
            modes: ["light", "dark"],
        }
    }
}

impl Default for CurrentTheme {
    fn default() -> Self {
        Self {
            id: "claw",
            mode: "system",
            scope: "gateway",
            overrides: NoMembers {},
        }
    }
}

params! {
    /// Parameters of `doctor.memory.status`.
    MemoryStatusParams {
        optional {
            /// The agent.
            agent_id: NonEmpty,
        }
        unused { probe: bool }
    }
}

/// The result of `doctor.memory.status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStatus {
    /// The agent, as asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Whether something can be searched.
    pub search_runtime_registered: bool,
    /// The model that makes texts comparable.
    pub embedding: NoEmbedding,
}

/// Texts are not made comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoEmbedding {
    /// Whether it works.
    pub ok: bool,
    /// Why not.
    pub error: &'static str,
}

impl Answer<MemoryStatusParams> for MemoryStatus {
    fn answer(params: &MemoryStatusParams, _now_ms: u64) -> Self {
        Self {
            agent_id: params.agent_id.as_deref().map(str::to_owned),
            search_runtime_registered: false,
            embedding: NoEmbedding {
                ok: false,
                error: "agents have no memory besides their sessions here",
            },
        }
    }
}

params! {
    /// Parameters of `migrations.memory.plan`.
    MemoryPlanParams {
        required {
            /// The agent.
            agent_id: NonEmpty,
        }
        unused { overwrite: bool }
    }
}

/// The result of `migrations.memory.plan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryPlan {
    /// The agent, as asked.
    pub agent_id: String,
    /// Where its memory would be: nowhere.
    pub workspace: String,
    /// Programs whose memory could be taken over: none.
    pub providers: NoItems,
}

impl Answer<MemoryPlanParams> for MemoryPlan {
    fn answer(params: &MemoryPlanParams, _now_ms: u64) -> Self {
        Self {
            agent_id: params.agent_id.to_string(),
            workspace: String::new(),
            providers: [],
        }
    }
}
