//! kube's client behind the whole stack: `cargo run -p recipe-kube`

use hyper_util::{client::legacy, rt::TokioExecutor};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams},
    client::ConfigExt,
};
use serde_json::json;
use tower::ServiceBuilder;
use tower_keep::{BoxError, Pipeline, ReplayLayer};
use tower_keep_test::http::{Origin, Reply};

/// Short requests. Watches and logs need limits of their own.
fn client(config: &Config) -> Result<Client, BoxError> {
    let http = legacy::Client::builder(TokioExecutor::new())
        .retry_canceled_requests(false) // The stack retries, so the client itself must not.
        .build_http(); // Against a cluster: `.build(config.rustls_https_connector()?)`.
    let stack = ServiceBuilder::new()
        // Outside the stack, so that it knows the server: its circuits and logs name it.
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(ReplayLayer::new()) // kube's body is not `Clone`: this keeps up to 64 KiB for a retry
        .layer(Pipeline::http_client().build()?)
        .service(http);
    Ok(Client::new(stack, "default"))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let busy = || Reply::status(503).header("retry-after", "0");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "keep"}});
    let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [pod]});
    let server = Origin::start().await?.script([
        busy(),
        Reply::close(),
        Reply::status(200).body(list.to_string()),
        busy(),
    ]);
    let config = Config::new(server.url("/").parse()?);
    let pods: Api<Pod> = Api::default_namespaced(client(&config)?);

    let names = pods.list(&ListParams::default()).await?.into_iter();
    let names: Vec<_> = names.filter_map(|pod| pod.metadata.name).collect();
    println!("pods: {names:?}, requests: {}", server.count());
    assert_eq!((&*names, server.count()), (&["keep".to_owned()][..], 3));

    // The server may have created the pod, so a POST is sent once.
    let pod = serde_json::from_value(pod)?;
    let created = pods.create(&PostParams::default(), &pod).await;
    let Err(kube::Error::Api(status)) = created else {
        return Err(format!("not a status of the server: {created:?}").into());
    };
    println!(
        "creating a pod: {}, requests: {}",
        status.code,
        server.count() - 3
    );
    assert_eq!((status.code, server.count()), (503, 4));
    Ok(())
}
