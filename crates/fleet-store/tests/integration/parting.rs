//! How long the threads of a store are waited for. They are the store's own and nobody else can start one, so the file is taken
//! in here.

use std::sync::mpsc;
use std::time::Duration;

use crate::crew::Crew;

#[test]
fn who_does_not_end_is_not_waited_for_past_the_limit() {
    let mut crew = Crew::new();
    let (answer, silence) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    crew.start("stuck", move || {
        let _ = silence.recv();
        let _ = tell.send(());
    })
    .expect("a thread starts");
    crew.part(Some(Duration::from_millis(20)));
    assert!(told.try_recv().is_err(), "it was waited for");
    // It goes on by itself once it has what it waits for.
    drop(answer);
    told.recv().expect("it goes on");
}

#[test]
fn who_ends_is_waited_for() {
    for limit in [None, Some(Duration::MAX)] {
        let mut crew = Crew::new();
        let (tell, told) = mpsc::channel();
        crew.start("busy", move || {
            std::thread::yield_now();
            let _ = tell.send(());
        })
        .expect("a thread starts");
        crew.part(limit);
        assert!(told.try_recv().is_ok(), "{limit:?}");
    }
}
