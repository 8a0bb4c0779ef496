//! How a native peer is let in: origin, secret, device, pairing (`protocol-facts` §2.1, §3.2).
//!
//! Owns the order of the checks. Every rule in it is somebody else's.

#[cfg(test)]
mod tests;

use super::connect::{self, ConnectAuth, TokenField};
use super::credential::{Active, Authenticator, Judged};
use super::device::{
    Device, DeviceClaim, DeviceFacts, IssuedToken, TokenRefusal, Visit, fact, prove, verify,
};
use super::head::{Head, Locality};
use super::limiter::{Attempt, Finding, Guessed, Key, Source};
use super::scope::ScopeSet;
use super::secret::Offered;
use super::{AuthError, AuthMethod, Principal};

/// The credential of everybody who proved a device, however it authenticated: who makes itself many
/// devices does not thereby become many credentials.
const DEVICE_CREDENTIAL: &str = "device";

/// A native peer that was let in.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// For whom it acts.
    pub principal: Principal,
    /// The token of its device, which it is told once.
    pub token: Option<IssuedToken>,
    /// Withdrawals of device credentials there had been when its device was looked up.
    withdrawals: u64,
}

/// A `connect`, and what it is judged by.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    active: &'a Active,
    head: &'a Head,
    offer: &'a ConnectAuth,
}

/// How a peer with a device authenticated.
struct Authenticated {
    method: AuthMethod,
    /// The device token, when it was that.
    presented: Option<Offered>,
}

impl Authenticator {
    /// Authenticates a native `connect`, decides its scopes and, for a device, whether it is
    /// paired.
    ///
    /// # Errors
    /// [`AuthError`] says why not.
    ///
    /// # Cancel safety
    /// A failure is counted before its answer is delayed, so dropping the future saves a guesser
    /// nothing. A device may have been paired, or its request made, all the same.
    pub async fn connect(&self, head: &Head, offer: &ConnectAuth) -> Result<Admitted, AuthError> {
        let active = self.active();
        Self::check_origin(&active, head, offer)?;
        let arrival = Arrival {
            active: &active,
            head,
            offer,
        };
        match &offer.device {
            Some(claim) => self.admit_device(arrival, claim).await,
            None => self.admit_plain(arrival).await,
        }
    }

    /// Whether the credential of an admitted peer was withdrawn since. Ask once its connection is
    /// registered: from then on withdrawals close it.
    pub fn is_withdrawn(&self, admitted: &Admitted) -> bool {
        self.devices
            .was_withdrawn(&admitted.principal, admitted.withdrawals)
    }

    async fn admit_plain(&self, arrival: Arrival<'_>) -> Result<Admitted, AuthError> {
        let Arrival {
            active,
            head,
            offer,
        } = arrival;
        let shared = match self.judge_shared(active, head, offer, false) {
            Judged::Right => Ok(()),
            Judged::Refused(error) => Err(error),
            Judged::Other => Err(AuthError::Mismatch(active.config.mode.method())),
        };
        self.hold_back(head, shared.as_ref().err()).await;
        let scopes = connect::admit(head, offer, active.config.mode.method(), shared)?;
        Ok(Admitted {
            principal: Principal {
                role: offer.role,
                rules: offer.rules,
                ..active.grant(head, capped(scopes, head))
            },
            token: None,
            withdrawals: 0,
        })
    }

    async fn admit_device(
        &self,
        arrival: Arrival<'_>,
        claim: &DeviceClaim,
    ) -> Result<Admitted, AuthError> {
        let Arrival {
            active,
            head,
            offer,
        } = arrival;
        // A device that does not prove itself learns nothing about any secret.
        let proven = prove(claim, offer, self.devices.now_ms()).map_err(AuthError::Device)?;
        let withdrawals = self.devices.withdrawals();
        let device = self.devices.find(&proven).await?;
        let asked: ScopeSet = offer.scopes.iter().map(String::as_str).collect();
        let scopes = capped(asked.of_role(offer.role), head);
        let authenticated = self.authenticate_device(arrival, &device, &scopes).await?;
        let visit = Visit {
            facts: facts(head, offer),
            program: offer.program(),
            role: offer.role,
            scopes: scopes.clone(),
            rules: offer.rules,
            locality: head.locality,
            method: authenticated.method,
            presented: authenticated.presented,
            is_capped: head.scopes.is_some(),
            proven,
        };
        let pairing = active.config.pairing;
        let token = self.devices.settle(&visit, pairing, device).await?;
        Ok(Admitted {
            principal: Principal {
                method: visit.method,
                credential: DEVICE_CREDENTIAL.into(),
                device: Some(visit.proven.id.into()),
                role: offer.role,
                rules: offer.rules,
                ..active.grant(head, scopes)
            },
            token,
            withdrawals,
        })
    }

    /// Compares the shared secret and, where that is not right, the token of the device (§3.2).
    ///
    /// Both are looked at before either is counted, because what is right as one of them is no
    /// guess at the other. Each is still compared and counted in one step.
    async fn authenticate_device(
        &self,
        arrival: Arrival<'_>,
        device: &Device,
        scopes: &ScopeSet,
    ) -> Result<Authenticated, AuthError> {
        let Arrival {
            active,
            head,
            offer,
        } = arrival;
        let candidate = offer.device_token().map(|(offered, field)| {
            let paired = device.paired.as_ref();
            let verdict = verify(paired, offer.role, scopes, &offered.digest());
            (offered, field, verdict)
        });
        let method = active.config.mode.method();
        // Only the very text that is known is no guess: what stands beside a good token may be one.
        let is_other = candidate.as_ref().is_some_and(|(offered, _, verdict)| {
            let is_known = matches!(verdict, Ok(()) | Err(TokenRefusal::ScopeMismatch));
            is_known && offer.secret_for(method) == Some(offered)
        });
        let refused = match self.judge_shared(active, head, offer, is_other) {
            Judged::Right => {
                return Ok(Authenticated {
                    method,
                    presented: None,
                });
            }
            Judged::Other => None,
            Judged::Refused(error) => Some(error),
        };
        let Some((offered, field, verdict)) = candidate else {
            self.hold_back(head, refused.as_ref()).await;
            return Err(refused.unwrap_or(AuthError::Missing(method)));
        };
        match self.judge_device_token(head, field, verdict) {
            Ok(()) => Ok(Authenticated {
                method: AuthMethod::DeviceToken,
                presented: Some(offered.clone()),
            }),
            Err(error) => {
                self.hold_back(head, refused.as_ref()).await;
                self.hold_back(head, Some(&error)).await;
                // Whoever did not call it a device token is told about the shared one.
                Err(match (field, refused) {
                    (TokenField::Token, Some(refused)) => refused,
                    (TokenField::DeviceToken, _) | (TokenField::Token, None) => error,
                })
            }
        }
    }

    /// Counts what was found about a device token, unless the source is locked out.
    fn judge_device_token(
        &self,
        head: &Head,
        field: TokenField,
        verdict: Result<(), TokenRefusal>,
    ) -> Result<(), AuthError> {
        let key = Key {
            guessed: Guessed::DeviceToken,
            source: Source::of(head),
        };
        let find = || match verdict {
            Ok(()) => Finding::Right,
            Err(TokenRefusal::ScopeMismatch) => Finding::Other,
            Err(
                TokenRefusal::NotPaired
                | TokenRefusal::RoleMissing
                | TokenRefusal::Revoked
                | TokenRefusal::Mismatch,
            ) => Finding::Wrong,
        };
        match self.limiter.attempt(key, find) {
            Attempt::Passed => Ok(()),
            Attempt::Other => Err(AuthError::ScopeMismatch),
            Attempt::Locked { retry_after } => Err(self.locked_out(key, retry_after)),
            Attempt::Failed { locked } => {
                // Counted once in the numbers, where it was looked at as both.
                if locked || matches!(field, TokenField::DeviceToken) {
                    self.note_failure(key, AuthMethod::DeviceToken, locked);
                }
                Err(verdict
                    .map_err(TokenRefusal::as_auth_error)
                    .err()
                    .unwrap_or(AuthError::Mismatch(AuthMethod::DeviceToken)))
            }
        }
    }
}

/// What the head of the request leaves of the scopes.
fn capped(scopes: ScopeSet, head: &Head) -> ScopeSet {
    match &head.scopes {
        Some(cap) => scopes.capped(cap),
        None => scopes,
    }
}

/// What the device says about itself, and where it is.
fn facts(head: &Head, offer: &ConnectAuth) -> DeviceFacts {
    let is_here = match head.locality {
        Locality::DirectLocal | Locality::BrowserLocal | Locality::ContainerLocal => true,
        Locality::Remote => false,
    };
    let clean = |text: &Option<String>| text.as_deref().and_then(fact);
    DeviceFacts {
        display_name: clean(&offer.display_name),
        platform: clean(&offer.platform),
        device_family: clean(&offer.device_family),
        client_id: fact(&offer.client_id),
        client_mode: fact(&offer.client_mode),
        browser_origin: head.origin.as_deref().and_then(fact),
        remote_ip: (!is_here).then(|| head.client.to_string().into()),
    }
}
