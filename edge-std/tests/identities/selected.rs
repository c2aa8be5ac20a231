//! Which of a machine's identities it is.

use super::*;
use redis_entraid::entraid_core::jwt::Claims;
use redis_entraid::source::{MachineLearning, ManagedIdentity, Selector, ServiceFabric};

/// The object id of the identity that `source` logs in as.
async fn user(emulator: &Emulator, source: impl TokenSource) -> Result<String, String> {
    let (mut redis, mut events) = events(client_of(emulator, source));
    if let Event::FetchFailed { error, .. } = fetched(&mut events).await {
        return Err(error.to_string());
    }
    redis.command(args!["PING"]).await.map_err(|error| error.to_string())?;
    let token = emulator.tokens().pop().expect("one was given out");
    let claims = Claims::read(&token).map_err(|error| error.to_string())?;
    Ok(claims.oid.expect("it has one").as_str().to_owned())
}

#[tokio::test]
async fn each_host_knows_a_user_assigned_identity_by_its_own_words() {
    let emulator = emulator(3600);
    let assigned = emulator.entra().user_assigned.clone();
    let machine = emulator.entra().system_assigned.object_id.clone();
    let resource = assigned.resource_id.clone().expect("it has one");
    let selectors = || {
        [
            Selector::ClientId(assigned.client_id.clone()),
            Selector::ObjectId(assigned.object_id.clone()),
            Selector::ResourceId(resource.clone()),
        ]
    };
    let app = |selector| {
        let header = emulator.entra().identity_header.clone();
        ManagedIdentity::app_service(format!("{}/msi/token", emulator.plain()), header, selector)
    };
    let imds = |selector| ManagedIdentity::imds_at(emulator.plain(), selector);
    let job = || {
        let secret = emulator.entra().msi_secret.clone();
        MachineLearning::new(format!("{}/ml/token", emulator.plain()), secret)
    };
    let user = |source| user(&emulator, source);
    assert_eq!(user(imds(Selector::System)).await, Ok(machine.clone()));
    assert_eq!(user(app(Selector::System)).await, Ok(machine.clone()));
    for selector in selectors() {
        assert_eq!(user(imds(selector)).await, Ok(assigned.object_id.clone()));
    }
    for selector in selectors() {
        assert_eq!(user(app(selector)).await, Ok(assigned.object_id.clone()));
    }
    let other = Selector::ClientId("00000000-0000-0000-0000-000000000001".to_owned());
    let refused = user(imds(other)).await.unwrap_err();
    assert!(refused.contains("isn't assigned to this machine"), "{refused}");
    let user = async |source| selected::user(&emulator, source).await;
    assert_eq!(user(job()).await, Ok(machine));
    let with_id = job().with_client_id(assigned.client_id.clone());
    assert_eq!(user(with_id).await, Ok(assigned.object_id.clone()));
    let unknown = job().with_client_id("00000000-0000-0000-0000-000000000001".to_owned());
    assert!(user(unknown).await.is_err());
}

#[tokio::test]
async fn service_fabric_is_known_by_its_certificate_alone() {
    let emulator = emulator(3600);
    let get = variables(&emulator, Kind::ServiceFabric);
    let variable = |name| get(name).expect("it is set");
    let (endpoint, secret) = (variable("IDENTITY_ENDPOINT"), variable("IDENTITY_HEADER"));
    let other = ServiceFabric::new(endpoint, secret, [0xa9; 20]);
    let error = user(&emulator, other).await.unwrap_err();
    assert!(error.contains("IDENTITY_SERVER_THUMBPRINT"), "{error}");
    assert!(emulator.requests().is_empty(), "the secret was sent");
}
