//! Credentials of Microsoft's crates as sources.

use super::*;
use ::azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use ::azure_core::error::{Error, ErrorKind};
use ::azure_core::time::OffsetDateTime;
use redis_entraid::entraid_core::source;
use redis_entraid::source::AzureCredential;
use std::sync::Arc;

/// A credential that has what it is made with.
#[derive(Debug)]
struct Credential(Result<String, ErrorKind>);

#[async_trait::async_trait]
impl TokenCredential for Credential {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> ::azure_core::Result<AccessToken> {
        assert_eq!(scopes, ["https://redis.azure.com/.default"]);
        match &self.0 {
            Ok(token) => {
                let ends = OffsetDateTime::now_utc() + ::azure_core::time::Duration::HOUR;
                Ok(AccessToken::new(token.clone(), ends))
            }
            Err(kind) => Err(Error::with_message(kind.clone(), "the vault is sealed")),
        }
    }
}

#[tokio::test]
async fn a_credential_of_azure_identity_logs_in_and_its_errors_are_told() {
    let emulator = emulator(3600);
    let client = |token| client_of(&emulator, AzureCredential::new(Arc::new(Credential(token))));
    let (_, token) = emulator.entra().login();
    client(Ok(token)).connect().await.unwrap();
    for (error, kind) in [
        (ErrorKind::Connection, source::ErrorKind::Transient),
        (ErrorKind::Io, source::ErrorKind::Transient),
        (ErrorKind::Credential, source::ErrorKind::Replication),
    ] {
        let (client, mut events) = events(client(Err(error)));
        let Event::FetchFailed { error, .. } = fetched(&mut events).await else { panic!() };
        assert_eq!(error.kind(), kind);
        let said = client.problem().unwrap().to_string();
        assert!(said.contains("the vault is sealed"), "{said}");
    }
}
