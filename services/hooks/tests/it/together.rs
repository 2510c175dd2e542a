//! What triggers leave behind that share a transaction: every row that they leave one after the other; on both databases.

use std::{collections::BTreeMap, num::NonZeroU32};

use futures_util::future::join_all;
use grapnel_domain::{Reason, id::HookId, trigger::Decision};
use grapnel_hooks::app::{Answered, Brought, NewHook, TriggerRates, TriggerTarget};
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, FromQueryResult as _, Statement};
use serde_json::Value;

use crate::{
    sending::House,
    support::{new_postgres_database, on_both},
};

/// What is compared, and in which order.
const TABLES: [(&str, &str); 6] = [
    ("deployment", "id"),
    ("deployment_event", "deployment_id, position"),
    ("trigger", "id"),
    ("outgoing_event", "deployment_id, position"),
    ("hook", "id"),
    ("hook_token", "id"),
];

/// What comes of the triggers of a burst, as its callers see it.
type Answers = Vec<Result<(u32, String, Decision), Reason>>;

fn burst(hooks: &[HookId; 2]) -> Vec<(HookId, Brought)> {
    let [site, shop] = *hooks;
    let plain = Brought { method: "gRPC".to_owned(), ..Brought::default() };
    let titled = Brought { title: "the news".to_owned(), body: b"{}".to_vec(), ..plain.clone() };
    let keyed = Brought { idempotency_key: "publish-7".to_owned(), ..plain.clone() };
    let ahead = Brought { prefetch: true, ..plain.clone() };
    let uncached = Brought { build_cache: Some(false), ..titled.clone() };
    vec![
        (site, plain.clone()),
        (site, keyed.clone()),
        (shop, plain.clone()),
        (site, titled),
        // Of what was superseded just before.
        (site, keyed.clone()),
        (site, ahead),
        (shop, keyed.clone()),
        (shop, keyed),
        (site, plain.clone()),
        // Over the limit.
        (site, plain.clone()),
        (site, uncached),
        (shop, plain),
    ]
}

/// A team with two hooks and an endpoint, and one deployment that waits already.
async fn house(url: &str) -> (House, [HookId; 2]) {
    let mut house = House::open(url).await;
    house.hearing("https://example.org/events", None, &[]).await;
    let mut hooks = Vec::new();
    for name in ["site", "shop"] {
        let new = NewHook::named(name.parse().unwrap());
        hooks.push(house.app.create_hook(house.team.id, &house.project, new).await.unwrap().hook.id);
    }
    // So few a minute that none is given back while this runs.
    house.app.rates = TriggerRates::new(NonZeroU32::new(5).unwrap(), NonZeroU32::new(1_000).unwrap());
    call(&house, hooks[0], Brought { method: "gRPC".to_owned(), ..Brought::default() }).await.unwrap();
    house.pass(1);
    (house, hooks.try_into().unwrap())
}

async fn call(house: &House, hook: HookId, brought: Brought) -> Result<(u32, String, Decision), Reason> {
    let target = TriggerTarget::Hook { team: house.team.id, hook };
    match house.app.trigger_hook(target, brought).await {
        Ok(Answered::Job(it, decision)) => Ok((it.trigger_count, it.state.to_string(), decision)),
        Ok(Answered::Ignored) => Ok((0, String::new(), Decision::PrefetchIgnored)),
        Err(error) => Err(error.reason),
    }
}

/// Reads all rows, with a number in the place of each id: the first that is met is the first.
async fn rows(url: &str) -> String {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1);
    let database = Database::connect(options).await.unwrap();
    let mut text = String::new();
    for (table, order) in TABLES {
        let sql = format!("SELECT * FROM {table} ORDER BY {order}");
        let select = Statement::from_string(database.get_database_backend(), sql);
        for mut row in Value::find_by_statement(select).all(&database).await.unwrap() {
            // A token is no other's.
            row.as_object_mut().unwrap().retain(|column, _| column != "hash" && column != "last_four");
            text += &format!("{table} {row}\n");
        }
    }
    database.close().await.unwrap();
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let is_id =
        |word: &str| word.split_once('_').is_some_and(|(kind, rest)| kind.len() < 5 && rest.len() == 26);
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(|word| {
        let (id, end) = word.split_at(word.len() - 1);
        if !is_id(id) {
            return word.to_owned();
        }
        let next = numbers.len();
        format!("id {}{end}", numbers.entry(id.to_owned()).or_insert(next))
    });
    words.collect()
}

#[tokio::test]
async fn triggers_that_come_together_leave_what_they_leave_one_after_the_other() {
    on_both(async |url| {
        let (alone, hooks) = house(&url).await;
        let mut answers = Answers::new();
        for (hook, brought) in burst(&hooks) {
            answers.push(call(&alone, hook, brought).await);
        }
        let decisions: Vec<_> = answers.iter().flatten().map(|(_, _, decision)| *decision).collect();
        for decision in [Decision::Accepted, Decision::Merged, Decision::Replayed, Decision::PrefetchIgnored]
        {
            assert!(decisions.contains(&decision), "{decision} is not tried");
        }
        let one_after_the_other = rows(&url).await;
        assert_eq!(one_after_the_other.matches("deployment.canceled").count(), 6, "{one_after_the_other}");

        let url = match url.strip_suffix("grapnel.db") {
            Some(directory) => format!("{directory}together/grapnel.db"),
            None => new_postgres_database().await,
        };
        if let Some(directory) =
            url.strip_prefix("sqlite://").and_then(|path| path.strip_suffix("/grapnel.db"))
        {
            std::fs::create_dir(directory).unwrap();
        }
        let (together, hooks) = house(&url).await;
        // On the one thread of this test all of them are waiting before the first is looked at.
        let burst = burst(&hooks);
        let burst = burst.into_iter().map(|(hook, brought)| call(&together, hook, brought));
        assert_eq!(join_all(burst).await, answers);
        for (together, alone) in rows(&url).await.lines().zip(one_after_the_other.lines()) {
            assert_eq!(together, alone);
        }
        assert_eq!(rows(&url).await, one_after_the_other);
        if together.app.store.is_shared() {
            let database = Database::connect(&url).await.unwrap();
            let sql = "SELECT count(DISTINCT xmin::text) FROM trigger";
            let select = Statement::from_string(database.get_database_backend(), sql);
            let transactions: i64 =
                database.query_one_raw(select).await.unwrap().unwrap().try_get_by_index(0).unwrap();
            assert_eq!(transactions, 3, "the one before, and the two halves of these");
        }
    })
    .await;
}
