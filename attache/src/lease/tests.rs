use super::*;
use std::sync::atomic::AtomicBool;

struct Service {
    calls: AtomicU64,
    down: AtomicBool,
    latency: Duration,
    life: Duration,
}

fn service(life_s: u64) -> Arc<Service> {
    Arc::new(Service {
        calls: AtomicU64::new(0),
        down: AtomicBool::new(false),
        latency: Duration::from_millis(100),
        life: Duration::from_secs(life_s),
    })
}

fn lease(service: &Arc<Service>) -> Lease<u64> {
    let service = service.clone();
    Lease::new("test", move || {
        let service = service.clone();
        async move {
            let call = service.calls.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(service.latency).await;
            if service.down.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::UpstreamUnavailable, "down"));
            }
            Ok(Granted {
                value: call,
                life: service.life,
            })
        }
    })
}

const NEED: Duration = Duration::from_secs(5);

fn calls(service: &Service) -> u64 {
    service.calls.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_at_expiry_share_one_fetch() {
    let service = service(3600);
    let lease = lease(&service);
    for round in 1..=3 {
        let all = (0..1000).map(|_| lease.get(NEED));
        for held in futures::future::join_all(all).await {
            assert_eq!(*held.expect("fetched").value(), round);
        }
        assert_eq!(calls(&service), round);
        tokio::time::advance(Duration::from_secs(3600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_caller_cancels_nobody() {
    let service = service(3600);
    let lease = lease(&service);
    let first = tokio::time::timeout(Duration::from_millis(10), lease.get(NEED));
    assert!(first.await.is_err(), "the first caller leaves");
    lease.get(NEED).await.expect("the fetch went on");
    assert_eq!(calls(&service), 1);
}

#[tokio::test(start_paused = true)]
async fn the_value_is_renewed_in_the_background_from_seventy_percent_of_its_life() {
    let service = service(1000);
    let lease = lease(&service);
    lease.get(NEED).await.expect("fetched");
    tokio::time::advance(Duration::from_secs(690)).await;
    lease.get(NEED).await.expect("fresh");
    tokio::task::yield_now().await;
    assert_eq!(calls(&service), 1, "too early");
    tokio::time::advance(Duration::from_secs(15)).await;
    let started = Instant::now();
    let held = lease.get(NEED).await.expect("the old value serves");
    assert_eq!((*held.value(), started.elapsed()), (1, Duration::ZERO));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*lease.get(NEED).await.expect("renewed").value(), 2);
    assert_eq!(calls(&service), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_invisible_until_the_value_dies_and_heals_by_itself() {
    let service = service(3600);
    let lease = lease(&service);
    lease.get(NEED).await.expect("fetched");
    tokio::time::advance(Duration::from_secs(2600)).await;
    service.down.store(true, Ordering::SeqCst);
    for _ in 0..990 {
        lease.get(NEED).await.expect("the old value serves");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let tries = calls(&service) - 1;
    assert!((15..=30).contains(&tries), "backs off to a minute: {tries}");
    tokio::time::advance(Duration::from_secs(10)).await;
    let error = lease.get(NEED).await.expect_err("the value died");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert!(error.retry_hint().is_some());
    service.down.store(false, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(73)).await;
    lease.get(NEED).await.expect("heals");
    assert!(lease.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_rejections_of_one_value_cause_one_fetch() {
    let service = service(3600);
    let lease = lease(&service);
    let seen = lease.get(NEED).await.expect("fetched");
    let all = (0..1000).map(|_| async {
        assert!(lease.reject(&seen));
        *lease.get(NEED).await.expect("fetched again").value()
    });
    let values = futures::future::join_all(all).await;
    assert!(values.iter().all(|value| *value == 2));
    assert_eq!(calls(&service), 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_rejects_every_value_is_not_hammered() {
    let service = service(3600);
    let lease = lease(&service);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let held = lease.get(NEED).await.expect("fetched");
        lease.reject(&held);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(calls(&service) < 10, "{}", calls(&service));
}

#[tokio::test(start_paused = true)]
async fn the_life_is_what_was_granted() {
    let service = service(30);
    let lease = lease(&service);
    let error = lease
        .get(Duration::from_secs(60))
        .await
        .expect_err("too short for ever");
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_is_a_failed_fetch() {
    let lease: Lease<()> = Lease::new("test", std::future::pending);
    let start = Instant::now();
    let error = lease.get(NEED).await.expect_err("hangs");
    assert_eq!(error.kind(), ErrorKind::UpstreamTimeout);
    assert_eq!(start.elapsed(), FETCH_TIMEOUT);
}
