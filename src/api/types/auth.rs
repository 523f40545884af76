//! Credentials for registries.
//!
//! Spec: Docker Engine API 1.51, AuthConfig, POST /auth; header X-Registry-Auth is base64url of this.

use crate::wire;

wire! {
    /// Name and password, or a token, for one registry.
    pub struct AuthConfig {
        "username" omit username: String,
        "password" omit password: String,
        "auth" omit auth: String,
        "email" omit email: String,
        "serveraddress" omit server_address: String,
        "identitytoken" omit identity_token: String,
        "registrytoken" omit registry_token: String,
    }
}

wire! {
    /// The answer of `POST /auth`.
    pub struct AuthResponse {
        "IdentityToken" keep identity_token: String,
        "Status" keep status: String,
    }
}
