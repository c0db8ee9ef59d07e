// SPDX-License-Identifier: MIT
use super::super::{report, report_new_deadlock};
use super::*;
use crate::config;
use crate::fence::Fence;
use crate::fence::WaitRecord;
use crate::shm::generation::Kind;
use crate::shm::wait_table::RecordContents;

const PLAIN: Kind = Kind::PLAIN;

/// Two queues, and a page of fences that they wait for and promise to signal.
struct Scene {
    page: Ref<Page>,
    fences: Vec<Ref<Fence>>,
    queues: [Participant; 2],
    records: Vec<WaitRecord>,
}

impl Scene {
    fn new() -> Result<Scene> {
        let page = Page::create(4)?;
        let fences = (0..3).map(|_| Fence::create(&page, PLAIN, 0)).collect::<Result<_>>()?;
        let queues =
            [Participant::new(ParticipantKind::Queue), Participant::new(ParticipantKind::Queue)];
        Ok(Scene { page, fences, queues, records: Vec::new() })
    }

    /// Records that a queue promises to signal (fence, value), but first waits for another.
    fn job(&mut self, queue: usize, wait: (usize, u64), promise: (usize, u64)) -> Result<()> {
        self.fences[promise.0].submit(promise.1)?;
        self.records.push(self.fences[promise.0].record_signal(self.queues[queue], promise.1));
        self.records.push(self.fences[wait.0].record_wait(self.queues[queue], wait.1));
        Ok(())
    }

    fn graph(&self) -> Result<Graph> {
        Graph::of_pages(vec![self.page.clone()])
    }

    fn deadlocks(&self) -> u32 {
        self.graph().map_or(u32::MAX, |graph| graph.deadlocks.count)
    }

    /// The report, with placeholders for what differs from run to run.
    fn text(&self) -> Result<String> {
        let graph = self.graph()?;
        let mut text = String::new();
        assert_eq!(report::text(&graph, &mut text), Ok(()));
        let name = graph
            .participants
            .first()
            .and_then(|node| node.name)
            .map(|name| name.chars().collect::<String>());
        let process = format!("pid {} ({})", process::id(), name.unwrap_or_default());
        let mut text = text
            .replace(&process, "pid P")
            .replace(&format!("fence {}:", self.page.id().1), "fence ");
        for (number, queue) in self.queues.iter().enumerate() {
            text = text.replace(
                &format!("queue {} ", queue.serial()),
                &format!("queue {} ", ["A", "B"][number]),
            );
        }
        Ok(text)
    }
}

#[test]
fn a_deadlock_names_itself() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.job(0, (0, 5), (1, 1))?;
    assert_eq!(scene.deadlocks(), 0);
    scene.job(1, (1, 1), (0, 6))?;
    let watch = scene.fences[1].record_wait(Participant::new(ParticipantKind::Watch), 1);
    let expected = "libumf: 1 page, 3 waits, 1 deadlock\n\
            deadlock 1:\n  \
            queue A of pid P waits for fence 0 >= 5 (now 0): promised by queue B of pid P\n  \
            queue B of pid P waits for fence 1 >= 1 (now 0): promised by queue A of pid P\n\
            waiting for a deadlock:\n  watch";
    let text = scene.text()?;
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.ends_with("waits for fence 1 >= 1 (now 0): promised by queue A of pid P\n"),
        "{text}"
    );
    assert_eq!(scene.text()?, text);
    drop(watch);
    assert!(expected.starts_with(&scene.text()?.replace("2 waits", "3 waits")));
    Ok(())
}

#[test]
fn a_deadlock_ends_with_a_signal() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.job(0, (0, 5), (1, 1))?;
    scene.job(1, (1, 1), (0, 6))?;
    scene.fences[0].signal(4)?;
    assert_eq!(scene.deadlocks(), 1);
    scene.fences[0].signal(5)?;
    assert_eq!(scene.deadlocks(), 0);
    assert!(scene.text()?.contains("1 page, 1 wait, 0 deadlocks"));
    // A promise that was kept is not shown any more.
    assert_eq!(scene.graph()?.promises.len(), 2);
    scene.fences[0].signal(6)?;
    assert_eq!(scene.graph()?.promises.len(), 1);
    Ok(())
}

#[test]
fn a_promise_of_a_lower_value_ends_no_wait() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.job(0, (0, 7), (1, 1))?;
    scene.job(1, (1, 1), (0, 6))?;
    assert_eq!(scene.deadlocks(), 0);
    assert!(
        scene
            .text()?
            .contains("waits for fence 0 >= 7 (now 0): nobody has submitted a signal for this")
    );
    let Some(record) = scene.records.get_mut(2) else { return Ok(()) };
    record.raise(7);
    assert_eq!(scene.deadlocks(), 1);
    Ok(())
}

#[test]
fn a_wait_for_work_of_a_signaler_without_a_record_is_no_deadlock() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.job(0, (0, 5), (1, 1))?;
    scene.job(1, (1, 1), (0, 6))?;
    scene.fences[0].submit(7)?;
    assert_eq!(scene.deadlocks(), 0);
    assert!(
        scene.text()?.contains("promised by queue B of pid P; and submitted by somebody else\n")
    );
    scene.job(0, (2, 1), (1, 2))?;
    scene.fences[2].submit(1)?;
    assert!(scene.text()?.contains("waits for fence 2 >= 1 (now 0): submitted\n"));
    Ok(())
}

#[test]
fn work_that_a_queue_has_started_waits_for_nothing() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.job(0, (0, 5), (1, 1))?;
    scene.job(1, (1, 1), (0, 6))?;
    let work = scene.fences[0].record_signal(scene.queues[1].work(), 5);
    assert_eq!(scene.deadlocks(), 0);
    assert!(scene.text()?.contains("; by work of queue B of pid P"));
    drop(work);
    assert_eq!(scene.deadlocks(), 1);
    Ok(())
}

#[test]
fn nothing_waits_for_a_fence_that_failed_or_was_destroyed() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.job(0, (0, 5), (1, 1))?;
    scene.job(1, (1, 1), (0, 6))?;
    scene.fences[0].set_error(crate::error::FenceErrno::new(5).ok_or(Error::Invalid)?)?;
    assert_eq!((scene.deadlocks(), scene.graph()?.waits.len()), (0, 1));
    scene.fences.clear();
    assert_eq!(scene.graph()?.waits.len(), 0);
    // Later fences of these slots are other fences.
    let next = (0..4).map(|_| Fence::create(&scene.page, PLAIN, 0)).collect::<Result<Vec<_>>>()?;
    assert_eq!((next.len(), scene.graph()?.waits.len()), (4, 0));
    drop(next);
    // A free slot has no fence, whatever generation a peer writes into the record.
    for index in 0..4 {
        let place = SlotHandle::new(&scene.page, index)?;
        for word in 0..=64 {
            let said = RecordContents { role: Role::Wait, alternatives: 1, value: 1 };
            let _forged = WaitRecord::new(&place, Generation::forged(word), scene.queues[0], said);
            assert_eq!(scene.graph()?.waits.len(), 0);
        }
    }
    Ok(())
}

#[test]
fn a_submission_ends_a_wait_for_one() -> Result<()> {
    let mut scene = Scene::new()?;
    let said = RecordContents { role: Role::WaitPending, alternatives: 1, value: 3 };
    scene.records.push(scene.fences[0].record(scene.queues[0], said));
    scene.records.push(scene.fences[0].record_signal(scene.queues[0], 3));
    assert_eq!((scene.deadlocks(), scene.graph()?.waits.len()), (0, 1));
    assert!(scene.text()?.contains(
        "a submission of fence 0 >= 3 (now 0): nobody has submitted a signal for this\n"
    ));
    scene.fences[0].submit(3)?;
    assert_eq!(scene.graph()?.waits.len(), 0);
    Ok(())
}

#[test]
fn values_of_32_bit_fences_wrap() -> Result<()> {
    let page = Page::create(1)?;
    let fence = Fence::create(&page, Kind { width: Width::Bits32, ..Kind::PLAIN }, 0xffff_fff0)?;
    let queue = Participant::new(ParticipantKind::Queue);
    let mut promise = fence.record_signal(queue, 0xffff_fff8);
    let wait = fence.record_wait(queue, 3);
    let deadlocks = || Graph::of_pages(vec![page.clone()]).map(|graph| graph.deadlocks.count);
    assert_eq!(deadlocks(), Ok(0));
    promise.raise(3);
    assert_eq!(deadlocks(), Ok(1));
    fence.signal(3)?;
    assert_eq!(deadlocks(), Ok(0));
    drop((wait, promise));
    Ok(())
}

#[test]
fn fences_of_two_pages_are_different() -> Result<()> {
    let (one, other) = (Page::create(1)?, Page::create(1)?);
    let (a, b) = (Fence::create(&one, PLAIN, 0)?, Fence::create(&other, PLAIN, 0)?);
    let queues =
        [Participant::new(ParticipantKind::Queue), Participant::new(ParticipantKind::Queue)];
    let _promises = (a.record_signal(queues[0], 1), b.record_signal(queues[1], 1));
    let _waits = (b.record_wait(queues[0], 1), a.record_wait(queues[1], 1));
    assert_eq!(Graph::of_pages(vec![one.clone(), other.clone()])?.deadlocks.count, 1);
    assert_eq!(Graph::of_pages(vec![other, one.clone()])?.deadlocks.count, 1);
    // One page alone does not have all of the deadlock.
    assert_eq!(Graph::of_pages(vec![one])?.deadlocks.count, 0);
    Ok(())
}

#[test]
fn each_deadlock_has_a_number_of_its_own() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.job(0, (0, 5), (1, 1))?;
    scene.job(1, (1, 1), (0, 6))?;
    let [a, b] = scene.queues;
    let first = scene.graph()?.deadlock_id(a);
    assert!(
        first.is_some()
            && scene.graph()?.deadlock_id(b) == first
            && scene.graph()?.deadlock_id(a) == first
    );
    assert_eq!(scene.graph()?.deadlock_id(Participant::new(ParticipantKind::Queue)), None);
    scene.records.pop();
    assert_eq!(scene.graph()?.deadlock_id(a), None);
    scene.records.push(scene.fences[1].record_wait(b, 1));
    assert!(scene.graph()?.deadlock_id(a).is_some_and(|again| Some(again) != first));
    Ok(())
}

#[test]
fn the_report_says_when_records_were_dropped() -> Result<()> {
    let mut scene = Scene::new()?;
    for value in 1..=crate::shm::wait_table::RECORDS as u64 + 2 {
        scene.records.push(scene.fences[0].record_wait(scene.queues[0], value));
    }
    assert!(
        scene
            .text()?
            .contains("\nnot complete: 2 records were dropped, so promises may be missing\n")
    );
    Ok(())
}

#[test]
fn a_wait_counts_if_both_reads_have_it_and_a_promise_if_either_has() -> Result<()> {
    let scene = Scene::new()?;
    let pages = [scene.page.clone()];
    let contents = |records: &[PageRecord]| {
        let mut contents: Vec<_> =
            records.iter().map(|record| (record.1.role == Role::Signal, record.1.value)).collect();
        contents.sort_unstable();
        contents
    };
    let [queue, other] = scene.queues;
    let _stays = (scene.fences[0].record_wait(queue, 1), scene.fences[0].record_signal(queue, 2));
    let (wait, promise) =
        (scene.fences[1].record_wait(other, 3), scene.fences[1].record_signal(other, 4));
    let first = read(&pages)?;
    // The same record may be used for an equal wait again: that is another wait.
    drop((wait, promise));
    let _again = (scene.fences[1].record_wait(other, 3), scene.fences[1].record_signal(other, 5));
    let second = read(&pages)?;
    assert_eq!(contents(&first), [(false, 1), (false, 3), (true, 2), (true, 4)]);
    assert_eq!(contents(&second), [(false, 1), (false, 3), (true, 2), (true, 5)]);
    assert_eq!(contents(&merge(first, second)?), [(false, 1), (true, 2), (true, 4), (true, 5)]);
    Ok(())
}

/// Runs itself in a process of its own, with LIBUMF_DEBUG set.
#[test]
fn a_new_deadlock_is_reported_once() -> Result<()> {
    let mut scene = Scene::new()?;
    let [a, b] = scene.queues;
    scene.job(0, (0, 5), (1, 1))?;
    report_new_deadlock(a);
    scene.job(1, (1, 1), (0, 6))?;
    for queue in [b, a, b, Participant::new(ParticipantKind::Queue)] {
        report_new_deadlock(queue);
    }
    if config::is_debug() {
        return Ok(());
    }
    let name = "diagnostics::graph::tests::a_new_deadlock_is_reported_once";
    let again = std::env::current_exe().and_then(|program| {
        std::process::Command::new(program)
            .args(["--exact", name, "--nocapture"])
            .env("LIBUMF_DEBUG", "1")
            .output()
    });
    let printed = again
        .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
        .unwrap_or_default();
    assert_eq!(printed.matches("deadlock 1:\n  queue ").count(), 1, "{printed}");
    Ok(())
}
