//! The `models` section: model servers, and what a model name of an agent stands for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::near::nearest;
use super::super::problem::Fault;
use super::super::raw::{RawModel, RawModels, RawProvider, RawSecret};
use super::super::value::KeyPath;
use super::{Checks, Inputs, secret};
use crate::agent::model::{
    ApiKey, BaseUrl, Endpoint, ExtraHeaders, RETRIES_DEFAULT, Timeouts, TokenLimitField,
};
use crate::dispatch::ModelEntry;
use crate::run::ModelRef;

/// The provider of the built-in simulated models.
pub(super) const SIM: &str = "sim";

/// The dialect of model servers that clawport speaks.
const API: &str = "openai-completions";

/// The configured model servers.
pub(super) struct Providers {
    known: BTreeMap<String, Provider>,
}

struct Provider {
    /// Why runs cannot use it, or how they do.
    server: Result<Server, Arc<str>>,
    models: Vec<RawModel>,
}

struct Server {
    base_url: BaseUrl,
    api_key: Option<ApiKey>,
    headers: ExtraHeaders,
    timeouts: Timeouts,
    retries: u32,
}

/// What a model name stands for.
pub(super) enum Resolved {
    /// A model at a server, and how often a call is repeated there.
    Model(Box<Endpoint>, u32),
    /// A model no run can use, and why.
    Unavailable(ModelRef, Arc<str>),
    /// A simulated model, by the name after `sim/`.
    Sim(String),
}

impl Providers {
    /// Checks every model server.
    pub(super) fn new(raw: &RawModels, inputs: Inputs<'_>, checks: &mut Checks<'_>) -> Self {
        let path = KeyPath::of("models.providers");
        let mut known = BTreeMap::new();
        for (name, provider) in &raw.providers {
            let path = path.key(name);
            if name == SIM {
                checks.fault(&path, Fault::SimProvider);
                continue;
            }
            let server = server(provider, &path, inputs, checks);
            let models = provider.models.clone();
            known.insert(name.clone(), Provider { server, models });
        }
        Self { known }
    }

    /// Every model a usable server offers.
    pub(super) fn entries(&self) -> Vec<ModelEntry> {
        let usable = self
            .known
            .iter()
            .filter(|(_, provider)| provider.server.is_ok());
        usable
            .flat_map(|(name, provider)| provider.models.iter().map(move |model| (name, model)))
            .map(|(provider, model)| entry(provider, model))
            .collect()
    }

    /// A model at its server, and how often a call is repeated there; `None` when no run can use
    /// it.
    pub(super) fn endpoint(&self, model: &ModelRef) -> Option<(Endpoint, u32)> {
        let provider = self.known.get(&*model.provider)?;
        let server = provider.server.as_ref().ok()?;
        let mut models = provider.models.iter();
        let listed = models.find(|listed| listed.id == *model.model);
        Some((endpoint(model.clone(), server, listed), server.retries))
    }

    /// What a model name of an agent stands for; `None` when it is wrong, which is reported.
    pub(super) fn resolve(
        &self,
        name: &str,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Option<Resolved> {
        let name = name.trim();
        let (provider, model) = match name.split_once('/') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => {
                (provider, model)
            }
            _ => {
                checks.fault(path, Fault::BadModel(name.to_owned()));
                return None;
            }
        };
        if provider == SIM {
            return Some(Resolved::Sim(model.to_owned()));
        }
        let reference = ModelRef {
            provider: provider.into(),
            model: model.into(),
        };
        let Some(known) = self.known.get(provider) else {
            return self.unknown(reference, path, checks);
        };
        match &known.server {
            Err(reason) => Some(Resolved::Unavailable(reference, Arc::clone(reason))),
            Ok(server) => {
                let listed = listed(known, &reference, path, checks);
                Some(Resolved::Model(
                    Box::new(endpoint(reference, server, listed)),
                    server.retries,
                ))
            }
        }
    }

    fn unknown(
        &self,
        reference: ModelRef,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Option<Resolved> {
        let provider = reference.provider.to_string();
        let names = self.known.keys().map(String::as_str).chain([SIM]);
        if let Some(meant) = nearest(&provider, names) {
            let nearest = meant.to_owned();
            checks.fault(path, Fault::MistypedProvider { provider, nearest });
            return None;
        }
        let reason = format!("provider {provider} is not configured").into();
        checks.fault(path, Fault::NoProvider(provider));
        Some(Resolved::Unavailable(reference, reason))
    }
}

/// What the provider's list says of a model; nothing when it has no list.
fn listed<'a>(
    provider: &'a Provider,
    reference: &ModelRef,
    path: &KeyPath,
    checks: &mut Checks<'_>,
) -> Option<&'a RawModel> {
    let model = &*reference.model;
    let found = provider.models.iter().find(|listed| listed.id == model);
    if found.is_some() || provider.models.is_empty() {
        return found;
    }
    let names = provider.models.iter().map(|listed| listed.id.as_str());
    let provider = reference.provider.to_string();
    // Names of models are near each other by nature, so this is no error.
    let fault = match nearest(model, names) {
        Some(meant) => Fault::MistypedModel {
            provider,
            nearest: meant.to_owned(),
        },
        None => Fault::UnlistedModel(provider),
    };
    checks.fault(path, fault);
    None
}

fn endpoint(reference: ModelRef, server: &Server, listed: Option<&RawModel>) -> Endpoint {
    let mut endpoint = Endpoint::new(reference, server.base_url.clone());
    endpoint.api_key.clone_from(&server.api_key);
    endpoint.headers = server.headers.clone();
    endpoint.timeouts = server.timeouts;
    if let Some(model) = listed {
        endpoint.context_window = model.context_window;
        endpoint.max_tokens = model.max_tokens;
        endpoint.reasoning = model.reasoning;
        endpoint.input = model
            .input
            .iter()
            .map(|kind| kind.as_str().into())
            .collect();
        let field = model
            .compat
            .as_ref()
            .and_then(|compat| TokenLimitField::parse(compat.max_tokens_field.as_deref()?));
        if let Some(field) = field {
            endpoint.token_limit_field = field;
        }
    }
    endpoint
}

fn entry(provider: &str, model: &RawModel) -> ModelEntry {
    ModelEntry {
        model: ModelRef {
            provider: provider.into(),
            model: model.id.as_str().into(),
        },
        name: model.name.as_deref().unwrap_or(&model.id).into(),
        context_window: model.context_window,
        reasoning: model.reasoning,
        input: model
            .input
            .iter()
            .map(|kind| kind.as_str().into())
            .collect(),
    }
}

/// Checks a model server. What keeps runs from using it, but not the gateway from starting, comes
/// back as the reason they fail with.
fn server(
    raw: &RawProvider,
    path: &KeyPath,
    inputs: Inputs<'_>,
    checks: &mut Checks<'_>,
) -> Result<Server, Arc<str>> {
    let base_url = raw.base_url.as_deref().map(|text| {
        let parsed = BaseUrl::parse(text);
        checks.accept(&path.key("baseUrl"), parsed)
    });
    let unreadable = unreadable_secret(raw, path, checks);
    let api_key = api_key(raw.api_key.as_ref(), &path.key("apiKey"), inputs, checks);
    let headers = headers(raw, &path.key("headers"), inputs, checks);
    for (index, model) in raw.models.iter().enumerate() {
        token_limit_field(model, &path.key("models").index(index), checks);
    }
    if let Some(api) = raw.api.as_deref().filter(|api| *api != API) {
        checks.fault(&path.key("api"), Fault::UnsupportedApi(api.to_owned()));
        return Err(format!("its provider speaks {api}, which is not supported").into());
    }
    if let Some(source) = unreadable {
        return Err(
            format!("its provider keeps a secret in {source}, which is not supported").into(),
        );
    }
    let Some(base_url) = base_url else {
        checks.fault(path, Fault::NoBaseUrl);
        return Err("its provider has no baseUrl".into());
    };
    Ok(Server {
        // A wrong address is an error: no configuration comes of it, so the reason is never seen.
        base_url: base_url.ok_or("its provider has no usable baseUrl")?,
        api_key,
        headers,
        timeouts: raw
            .timeout_seconds
            .map_or_else(Timeouts::default, |seconds| {
                Timeouts::from_timeout(Duration::from_secs(seconds))
            }),
        retries: raw.retries.unwrap_or(RETRIES_DEFAULT),
    })
}

/// Where a secret is kept that clawport cannot read: no run can use the server then.
fn unreadable_secret(raw: &RawProvider, path: &KeyPath, checks: &mut Checks<'_>) -> Option<String> {
    let key = raw
        .api_key
        .iter()
        .map(|secret| (path.key("apiKey"), secret));
    let headers = raw.headers.iter();
    let headers = headers.map(|(name, secret)| (path.key("headers").key(name), secret));
    let mut first = None;
    for (path, secret) in key.chain(headers) {
        if let Some(source) = secret::unreadable_source(secret) {
            checks.fault(&path, Fault::ProviderSecret(source.to_owned()));
            first.get_or_insert_with(|| source.to_owned());
        }
    }
    first
}

fn api_key(
    raw: Option<&RawSecret>,
    path: &KeyPath,
    inputs: Inputs<'_>,
    checks: &mut Checks<'_>,
) -> Option<ApiKey> {
    let raw = raw.filter(|secret| secret::unreadable_source(secret).is_none());
    let text = secret::read(raw?, inputs.env, path, checks)?;
    if text.trim().is_empty() {
        return None;
    }
    reject_unresolved(&text, path, checks);
    checks.accept(path, ApiKey::parse(&text))
}

fn headers(
    raw: &RawProvider,
    path: &KeyPath,
    inputs: Inputs<'_>,
    checks: &mut Checks<'_>,
) -> ExtraHeaders {
    let mut headers = ExtraHeaders::default();
    for (name, value) in &raw.headers {
        if secret::unreadable_source(value).is_some() {
            continue;
        }
        let path = path.key(name);
        let Some(text) = secret::read(value, inputs.env, &path, checks) else {
            continue;
        };
        reject_unresolved(&text, &path, checks);
        let inserted = headers.insert(name, &text);
        checks.accept(&path, inserted);
    }
    headers
}

/// A key may be short or even `none`, which local servers take, but not a forgotten variable or
/// what stood in its place when it was shown.
fn reject_unresolved(text: &str, path: &KeyPath, checks: &mut Checks<'_>) {
    use super::super::problem::SecretFlaw;
    if let Some(Fault::BadSecret(flaw)) = secret::flaw(text) {
        match flaw {
            SecretFlaw::Unresolved | SecretFlaw::Redacted => {
                checks.fault(path, Fault::BadSecret(flaw));
            }
            SecretFlaw::Blank | SecretFlaw::Placeholder => {}
        }
    }
}

fn token_limit_field(model: &RawModel, path: &KeyPath, checks: &mut Checks<'_>) {
    let compat = model.compat.as_ref();
    let Some(name) = compat.and_then(|compat| compat.max_tokens_field.as_ref()) else {
        return;
    };
    if TokenLimitField::parse(name).is_none() {
        let fault = Fault::BadValue {
            expected: "max_tokens or max_completion_tokens",
            found: name.clone(),
        };
        checks.fault(&path.key("compat").key("maxTokensField"), fault);
    }
}
