//! Every identity, and what each of them is made of.

use std::sync::Arc;

use ::azure_core::credentials::{AccessToken as AzureToken, TokenCredential, TokenRequestOptions};
use ::azure_core::time::{Duration, OffsetDateTime};
use amr_emulator::Kind;

use super::*;

/// A credential of Microsoft's crates that has a token.
#[derive(Debug)]
struct Credential(String);

#[async_trait::async_trait]
impl TokenCredential for Credential {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> ::azure_core::Result<AzureToken> {
        Ok(AzureToken::new(self.0.clone(), OffsetDateTime::now_utc() + Duration::HOUR))
    }
}

/// Logs in by each of them, and shows what they are made of.
pub(crate) async fn every_identity() {
    let emulator = started(3600, &[]).await;
    let entra = emulator.entra();
    let (authority, id) = (emulator.authority(), entra.principal.client_id.clone());
    let authority = || Authority::at_host(authority.clone(), entra.tenant.clone());
    let pem = entra.certificate.pem.clone();
    {
        let mut secrets = SECRETS.lock().unwrap();
        secrets.add(&entra.msi_secret);
        secrets.add(&entra.federated_token());
        // A line of the key.
        secrets.add(pem.lines().nth(3).unwrap());
    }
    for (_, kind) in Kind::ALL {
        let environment = emulator.environment_of(kind);
        let find = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        };
        let (source, chosen) = AnySource::from_variables(find).unwrap();
        shown().value(&source);
        shown().value(&chosen);
        // The folder of its keys is root's.
        if kind != Kind::Arc {
            work(client(&emulator, source)).await;
        }
    }
    let certificate =
        ClientCertificate::from_bytes(authority(), &*id, pem.as_bytes(), None).unwrap();
    shown().value(&certificate);
    let (key, _) = pem.split_once("-----BEGIN CERTIFICATE").unwrap();
    let error = ClientCertificate::from_bytes(authority(), &*id, key.as_bytes(), None).unwrap_err();
    shown().value(&error);
    shown().error(&error);
    let broken = key.replace('A', "B") + emulator.root_pem();
    let error = ClientCertificate::from_bytes(authority(), &*id, broken.as_bytes(), Some("hush"));
    shown().error(&error.unwrap_err());
    let federated = entra.federated_token();
    let assertion =
        ClientAssertion::new(authority(), &*id, move || core::future::ready(Ok(federated.clone())));
    shown().value(&assertion);
    work(client(&emulator, assertion)).await;
    let workload = WorkloadIdentity::new(authority(), id.clone(), "/nowhere".to_owned());
    let proxy = TokenProxy::new(workload, "https://x".to_owned(), None, ProxyRoots::Usual);
    shown().value(&proxy);
    shown().value(&ServiceFabric::new("https://x", &*entra.identity_header, [0; 20]));
    let tool = CommandLineTool::azure_cli().with_program("/nowhere/az");
    shown().value(&tool);
    let chain = TokenChain::new().then("Azure CLI", tool).then("principal", principal(&emulator));
    shown().value(&chain);
    work(client(&emulator, chain)).await;
    let (_, token) = entra.login();
    SECRETS.lock().unwrap().add(&token);
    let credential = AzureCredential::new(Arc::new(Credential(token)));
    shown().value(&credential);
    work(client(&emulator, credential)).await;
}
