//! `POST /auth`: are these credentials good?

use crate::api::Call;
use crate::api::types::auth::AuthResponse;
use crate::base::Result;
use crate::http::{Request, Response};
use crate::registry::auth::Credentials;

/// Longest body that is taken, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Asks the registry.
///
/// # Errors
/// `Unauthorized` if it refuses; `InvalidParameter` for a malformed body; `Io` if it cannot be asked.
pub fn login(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    // Docker's own handler does not look at the content type here.
    let credentials = Credentials::from_json(&request.bytes(MAX_BYTES)?)?;
    let cancel = request.cancel()?;
    let identity_token = call.engine.images.login(&credentials, &cancel)?;
    let status = "Login Succeeded".into();
    response.json(200, &AuthResponse { identity_token, status })
}
