//! Who may do what: tokens, rules, impersonation, reviews.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use cluster_apiserver::Identity;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};

use crate::support::{BOB_TOKEN, CONFIG_MAPS, Harness, Raw, config_map};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

async fn grant(raw: &Raw, name: &str, rules: Value, subject: Value) {
    let role = json!({"metadata": {"name": name}, "rules": rules});
    assert_eq!(raw.post(&format!("{RBAC}/clusterroles"), &role).await.status, 201);
    let binding = json!({
        "metadata": {"name": name}, "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
    });
    let made = raw.post(&format!("{RBAC}/clusterrolebindings"), &binding).await;
    assert_eq!(made.status, 201, "{}", made.message());
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name})
}

#[tokio::test(start_paused = true)]
async fn unknown_tokens_are_401_and_missing_rules_403() {
    let harness = Harness::start().await;
    let wrong = harness.with_token("wrong").get(CONFIG_MAPS).await;
    assert_eq!((wrong.status.as_u16(), wrong.message()), (401, "Unauthorized".to_owned()));
    let nobody = harness.with_token("").get(CONFIG_MAPS).await;
    assert_eq!(
        nobody.message(),
        "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(harness.with_token("").get("/healthz").await.status, 200);
    let metrics = harness.with_token("").get("/metrics").await;
    assert_eq!(
        (metrics.status.as_u16(), metrics.message()),
        (403, "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"".to_owned())
    );
    let bob = harness.with_token(BOB_TOKEN);
    assert_eq!(bob.get("/api").await.status, 200, "whoever is known may discover");
    assert_eq!(bob.get(CONFIG_MAPS).await.status, 403);
    assert_eq!(harness.raw().get("/metrics").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn rules_count_from_the_next_request_on() {
    let harness = Harness::start().await;
    let (raw, bob) = (harness.raw(), harness.with_token(BOB_TOKEN));
    grant(
        &raw,
        "reader",
        json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]}]),
        user("bob"),
    )
    .await;
    assert_eq!(bob.get(CONFIG_MAPS).await.status, 200);
    assert_eq!(bob.get(&format!("{CONFIG_MAPS}?watch=1")).await.status, 403);
    raw.delete(&format!("{RBAC}/clusterrolebindings/reader"), &json!(null)).await;
    assert_eq!(bob.get(CONFIG_MAPS).await.status, 403);
    let edit = json!({
        "metadata": {"name": "bob-edits"}, "subjects": [user("bob")],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
    });
    raw.post(&format!("{RBAC}/namespaces/default/rolebindings"), &edit).await;
    assert_eq!(bob.get(CONFIG_MAPS).await.status, 200, "edit is made of other roles");
    assert_eq!(bob.get("/api/v1/namespaces/kube-system/configmaps").await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn clients_of_this_process_have_rules_too() {
    let harness = Harness::start().await;
    let account = Identity::service_account("default", "bot");
    let maps: Api<ConfigMap> = Api::default_namespaced(harness.server.client_as(&account));
    let refused = maps.list(&ListParams::default()).await.expect_err("no rule");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    let subject = json!({"kind": "ServiceAccount", "namespace": "default", "name": "bot"});
    grant(&harness.raw(), "bot", json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["*"]}]), subject).await;
    maps.list(&ListParams::default()).await.expect("allowed");
}

#[tokio::test(start_paused = true)]
async fn nobody_grants_more_than_they_hold() {
    let harness = Harness::start().await;
    let (raw, bob) = (harness.raw(), harness.with_token(BOB_TOKEN));
    let rules = json!([
        {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles", "clusterrolebindings"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
    ]);
    grant(&raw, "rbac-writer", json!([
        {"verbs": ["create", "update", "get"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles", "clusterrolebindings"]},
        rules[1],
    ]), user("bob")).await;
    let own = json!({"metadata": {"name": "own"}, "rules": [rules[1]]});
    assert_eq!(bob.post(&format!("{RBAC}/clusterroles"), &own).await.status, 201);
    let more = json!({"metadata": {"name": "more"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]});
    let refused = bob.post(&format!("{RBAC}/clusterroles"), &more).await;
    assert_eq!(refused.status, 403);
    assert!(refused.message().contains("is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"), "{}", refused.message());
    let binding = json!({
        "metadata": {"name": "up"}, "subjects": [user("bob")],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    });
    assert_eq!(bob.post(&format!("{RBAC}/clusterrolebindings"), &binding).await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn asking_as_somebody_else() {
    let harness = Harness::start().await;
    let as_bob = |path: &str| {
        let request = Request::builder().uri(path).header("impersonate-user", "bob").header("impersonate-group", "g");
        request.body(Full::default()).expect("request")
    };
    let refused = harness.raw().send(as_bob(CONFIG_MAPS)).await;
    assert!(refused.message().starts_with("configmaps is forbidden: User \"bob\" cannot list"));
    let not_allowed = harness.with_token(BOB_TOKEN).send(as_bob(CONFIG_MAPS)).await;
    assert_eq!(
        not_allowed.message(),
        "users \"bob\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
    let mut who = as_bob("/apis/authentication.k8s.io/v1/selfsubjectreviews");
    *who.method_mut() = Method::POST;
    *who.body_mut() = Full::from("{}");
    let who = harness.raw().send(who).await.json();
    assert_eq!(who["status"]["userInfo"], json!({"username": "bob", "groups": ["g", "system:authenticated"]}));
}

#[tokio::test(start_paused = true)]
async fn tokens_of_service_accounts_work_until_the_account_is_gone() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    raw.post(accounts, &json!({"metadata": {"name": "bot"}})).await;
    let asked = raw.post(&format!("{accounts}/bot/token"), &json!({"spec": {"expirationSeconds": 600}})).await;
    assert_eq!(asked.status, 201, "{}", asked.message());
    let token = asked.json()["status"]["token"].as_str().expect("token").to_owned();
    let bot = harness.with_token(&token);
    let who = bot.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.json();
    assert_eq!(who["status"]["userInfo"]["username"], "system:serviceaccount:default:bot");
    let review = json!({"spec": {"token": token, "audiences": ["other"]}});
    let review = raw.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.json();
    assert_eq!(review["status"]["error"], "[invalid bearer token]");
    let short = raw.post(&format!("{accounts}/bot/token"), &json!({"spec": {"expirationSeconds": 1}})).await;
    assert_eq!(short.status, 422);
    let keys = bot.get("/openid/v1/jwks").await;
    assert_eq!((keys.status.as_u16(), keys.json()["keys"][0]["crv"].as_str()), (200, Some("P-256")));
    raw.delete(&format!("{accounts}/bot"), &json!(null)).await;
    assert_eq!(bot.get("/api").await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn reviews_answer_what_requests_would() {
    let harness = Harness::start().await;
    let (raw, bob) = (harness.raw(), harness.with_token(BOB_TOKEN));
    grant(&raw, "reader", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]), user("bob")).await;
    let authorization = "/apis/authorization.k8s.io/v1";
    let ask = |verb: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods"}}});
    for (verb, wanted) in [("get", true), ("delete", false)] {
        let own = bob.post(&format!("{authorization}/selfsubjectaccessreviews"), &ask(verb)).await.json();
        assert_eq!(own["status"]["allowed"], wanted);
        let mut other = ask(verb);
        other["spec"]["user"] = json!("bob");
        let other = raw.post(&format!("{authorization}/subjectaccessreviews"), &other).await.json();
        assert_eq!(other["status"]["allowed"], wanted);
    }
    let rules = bob
        .post(&format!("{authorization}/selfsubjectrulesreviews"), &json!({"spec": {"namespace": "default"}}))
        .await
        .json();
    assert!(
        rules["status"]["resourceRules"]
            .as_array()
            .expect("rules")
            .iter()
            .any(|rule| rule["resources"] == json!(["pods"]))
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_may_read_one_name_reads_that_one() {
    let harness = Harness::start().await;
    let (raw, bob) = (harness.raw(), harness.with_token(BOB_TOKEN));
    for name in ["a", "b"] {
        raw.post(CONFIG_MAPS, &config_map(name)).await;
    }
    let rule = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]}]);
    grant(&raw, "one", rule, user("bob")).await;
    let watch =
        |name: &str| format!("{}/{name}?timeoutSeconds=1", CONFIG_MAPS.replace("/namespaces", "/watch/namespaces"));
    let seen = bob.get(&watch("a")).await;
    assert_eq!((seen.status.as_u16(), seen.json()["object"]["metadata"]["name"].as_str()), (200, Some("a")));
    assert_eq!(bob.get(&watch("b")).await.status, 403);
    let other = bob.get(&format!("{}&fieldSelector=metadata.name%3Db", watch("a"))).await;
    assert_eq!(
        (other.status.as_u16(), other.message()),
        (400, "fieldSelector metadata.name doesn't match requested name".to_owned())
    );
    let selected = format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Da");
    let list = bob.get(&selected).await;
    assert_eq!((list.status.as_u16(), list.json()["items"].as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(bob.get(&format!("{selected}%2Cmetadata.namespace%3Ddefault")).await.status, 200);
    for wider in ["", "?fieldSelector=metadata.name%3Db", "?fieldSelector=metadata.name!%3Da"] {
        assert_eq!(bob.get(&format!("{CONFIG_MAPS}{wider}")).await.status, 403, "{wider}");
    }
    assert_eq!(bob.post(&selected, &config_map("c")).await.status, 403, "a create is of no name");
    assert_eq!(bob.delete(&selected, &Value::Null).await.status, 403);
    assert_eq!(bob.get(&format!("{CONFIG_MAPS}/a")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn roles_are_not_gathered_or_labelled_into_more() {
    let harness = Harness::start().await;
    let (raw, bob) = (harness.raw(), harness.with_token(BOB_TOKEN));
    let writer = json!([
        {"verbs": ["create", "update", "get", "patch"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]},
    ]);
    grant(&raw, "writer", writer, user("bob")).await;
    let roles = format!("{RBAC}/clusterroles");
    let gathering = json!({
        "metadata": {"name": "all"}, "rules": [],
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}]},
    });
    let refused = bob.post(&roles, &gathering).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message()),
        (403, "clusterroles.rbac.authorization.k8s.io \"all\" is forbidden: must have cluster-admin privileges to use the aggregationRule".to_owned())
    );
    assert_eq!(raw.post(&roles, &gathering).await.status, 201);
    let dropped = bob.merge(&format!("{roles}/all"), &json!({"aggregationRule": null})).await;
    assert_eq!(dropped.status, 403, "nor is one taken away");

    let secrets = json!({"metadata": {"name": "secrets"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]});
    raw.post(&roles, &secrets).await;
    let path = format!("{roles}/secrets");
    let label = json!({"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}});
    assert_eq!(bob.merge(&path, &label).await.status, 403, "a label would put the rules into another role");
    assert_eq!(bob.merge(&path, &json!({"metadata": {"finalizers": ["x.io/f"]}})).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_comes_later_is_bound_by_who_may_bind() {
    let harness = Harness::start().await;
    let (raw, bob) = (harness.raw(), harness.with_token(BOB_TOKEN));
    let verbs = |verbs: Value, resource: &str| json!({"verbs": verbs, "apiGroups": ["rbac.authorization.k8s.io"], "resources": [resource]});
    grant(&raw, "binder", json!([verbs(json!(["create"]), "rolebindings")]), user("bob")).await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let binding = |kind: &str| {
        json!({"metadata": {"name": "later"}, "subjects": [user("bob")],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "later"}})
    };
    let refused = bob.post(&bindings, &binding("Role")).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message()),
        (404, "roles.rbac.authorization.k8s.io \"later\" not found".to_owned())
    );
    assert_eq!(bob.post(&bindings, &binding("ClusterRole")).await.status, 404);
    grant(&raw, "may-bind", json!([verbs(json!(["bind"]), "roles")]), user("bob")).await;
    assert_eq!(bob.post(&bindings, &binding("Role")).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_hands_out_no_token() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    raw.post(accounts, &json!({"metadata": {"name": "bot"}})).await;
    let dry = raw.post(&format!("{accounts}/bot/token?dryRun=All"), &json!({"spec": {}})).await;
    assert_eq!((dry.status.as_u16(), dry.json()["status"]["token"].as_str()), (201, Some("")));
}
