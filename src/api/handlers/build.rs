//! What remains of builds: this engine keeps no cache of them.

use crate::api::Call;
use crate::api::types::image::BuildPruneReport;
use crate::base::Result;
use crate::http::{Request, Response};

/// `POST /build/prune`: there is nothing that could go.
///
/// # Errors
/// None but those of the connection.
pub fn prune(
    _call: &Call<'_>,
    _request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    response.json(200, &BuildPruneReport::default())
}
