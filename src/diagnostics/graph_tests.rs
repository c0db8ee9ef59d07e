use super::super::{report, report_new_deadlock};
use super::*;
use crate::config;
use crate::fence::Fence;
use crate::fence::WaitRecord;
use crate::shm::generation::Kind;
use crate::shm::wait_table::RecordContents;

const PLAIN: Kind = Kind::PLAIN;

/// Two queues, and a page of fences that they wait for and promise.
struct Scene {
    page: Ref<Page>,
    fences: Vec<Ref<Fence>>,
    queues: [Participant; 2],
    notes: Vec<WaitRecord>,
}

impl Scene {
    fn new() -> Result<Scene> {
        let page = Page::create(4)?;
        let fences = (0..3).map(|_| Fence::create(&page, PLAIN, 0)).collect::<Result<_>>()?;
        let queues =
            [Participant::new(ParticipantKind::Queue), Participant::new(ParticipantKind::Queue)];
        Ok(Scene { page, fences, queues, notes: Vec::new() })
    }

    /// Queue `who` promises (fence, value), and cannot before it saw another.
    fn job(&mut self, who: usize, wait: (usize, u64), promise: (usize, u64)) -> Result<()> {
        self.fences[promise.0].submit(promise.1)?;
        self.notes.push(self.fences[promise.0].record_signal(self.queues[who], promise.1));
        self.notes.push(self.fences[wait.0].record_wait(self.queues[who], wait.1));
        Ok(())
    }

    fn graph(&self) -> Result<Graph> {
        Graph::of_pages(vec![self.page.clone()])
    }

    fn deadlocks(&self) -> u32 {
        self.graph().map_or(u32::MAX, |graph| graph.verdict.deadlocks)
    }

    /// The text, with the names of this test in it.
    fn text(&self) -> Result<String> {
        let graph = self.graph()?;
        let mut text = String::new();
        assert_eq!(report::text(&graph, &mut text), Ok(()));
        let name = graph
            .owners
            .first()
            .and_then(|who| who.name)
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
    // A promise that was kept is none any more.
    assert_eq!(scene.graph()?.promises.len(), 2);
    scene.fences[0].signal(6)?;
    assert_eq!(scene.graph()?.promises.len(), 1);
    Ok(())
}

#[test]
fn a_promise_of_less_ends_no_wait() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.job(0, (0, 7), (1, 1))?;
    scene.job(1, (1, 1), (0, 6))?;
    assert_eq!(scene.deadlocks(), 0);
    assert!(
        scene
            .text()?
            .contains("waits for fence 0 >= 7 (now 0): nobody has submitted a signal for this")
    );
    let Some(note) = scene.notes.get(2) else { return Ok(()) };
    note.raise(7);
    assert_eq!(scene.deadlocks(), 1);
    Ok(())
}

#[test]
fn what_somebody_else_submitted_is_no_deadlock() -> Result<()> {
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
fn failed_and_ended_fences_are_waited_for_by_nobody() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.job(0, (0, 5), (1, 1))?;
    scene.job(1, (1, 1), (0, 6))?;
    scene.fences[0].set_error(crate::error::FenceErrno::new(5).ok_or(Error::Invalid)?)?;
    assert_eq!((scene.deadlocks(), scene.graph()?.waits.len()), (0, 1));
    scene.fences.clear();
    assert_eq!(scene.graph()?.waits.len(), 0);
    // The next fences of these slots are others.
    let next = (0..4).map(|_| Fence::create(&scene.page, PLAIN, 0)).collect::<Result<Vec<_>>>()?;
    assert_eq!((next.len(), scene.graph()?.waits.len()), (4, 0));
    drop(next);
    // Nor is there a fence in a slot that is free, whatever tag somebody gives it.
    for index in 0..4 {
        let place = SlotHandle::new(&scene.page, index)?;
        for word in 0..=64 {
            let said = RecordContents { role: Role::Wait, alternatives: 1, value: 1 };
            let _forged =
                WaitRecord::new(&place, Generation::from_shared(word), scene.queues[0], said);
            assert_eq!(scene.graph()?.waits.len(), 0);
        }
    }
    Ok(())
}

#[test]
fn who_waits_for_a_submission_is_freed_by_one() -> Result<()> {
    let mut scene = Scene::new()?;
    let said = RecordContents { role: Role::WaitPending, alternatives: 1, value: 3 };
    scene.notes.push(scene.fences[0].record(scene.queues[0], said));
    scene.notes.push(scene.fences[0].record_signal(scene.queues[0], 3));
    assert_eq!((scene.deadlocks(), scene.graph()?.waits.len()), (0, 1));
    assert!(scene.text()?.contains(
        "a submission of fence 0 >= 3 (now 0): nobody has submitted a signal for this\n"
    ));
    scene.fences[0].submit(3)?;
    assert_eq!(scene.graph()?.waits.len(), 0);
    Ok(())
}

#[test]
fn values_of_32_bits_go_round() -> Result<()> {
    let page = Page::create(1)?;
    let fence = Fence::create(&page, Kind { width: Width::Bits32, ..Kind::PLAIN }, 0xffff_fff0)?;
    let queue = Participant::new(ParticipantKind::Queue);
    let promise = fence.record_signal(queue, 0xffff_fff8);
    let wait = fence.record_wait(queue, 3);
    let deadlocks = || Graph::of_pages(vec![page.clone()]).map(|graph| graph.verdict.deadlocks);
    assert_eq!(deadlocks(), Ok(0));
    promise.raise(3);
    assert_eq!(deadlocks(), Ok(1));
    fence.signal(3)?;
    assert_eq!(deadlocks(), Ok(0));
    drop((wait, promise));
    Ok(())
}

#[test]
fn pages_are_told_apart() -> Result<()> {
    let (one, other) = (Page::create(1)?, Page::create(1)?);
    let (a, b) = (Fence::create(&one, PLAIN, 0)?, Fence::create(&other, PLAIN, 0)?);
    let queues =
        [Participant::new(ParticipantKind::Queue), Participant::new(ParticipantKind::Queue)];
    let _promises = (a.record_signal(queues[0], 1), b.record_signal(queues[1], 1));
    let _waits = (b.record_wait(queues[0], 1), a.record_wait(queues[1], 1));
    assert_eq!(Graph::of_pages(vec![one.clone(), other.clone()])?.verdict.deadlocks, 1);
    assert_eq!(Graph::of_pages(vec![other, one.clone()])?.verdict.deadlocks, 1);
    // Of one page alone there is no circle to be seen.
    assert_eq!(Graph::of_pages(vec![one])?.verdict.deadlocks, 0);
    Ok(())
}

#[test]
fn each_circle_is_told_from_others() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.job(0, (0, 5), (1, 1))?;
    scene.job(1, (1, 1), (0, 6))?;
    let [a, b] = scene.queues;
    let first = scene.graph()?.circle_of(a);
    assert!(
        first.is_some()
            && scene.graph()?.circle_of(b) == first
            && scene.graph()?.circle_of(a) == first
    );
    assert_eq!(scene.graph()?.circle_of(Participant::new(ParticipantKind::Queue)), None);
    scene.notes.pop();
    assert_eq!(scene.graph()?.circle_of(a), None);
    scene.notes.push(scene.fences[1].record_wait(b, 1));
    assert!(scene.graph()?.circle_of(a).is_some_and(|again| Some(again) != first));
    Ok(())
}

#[test]
fn a_page_whose_notes_found_no_room_says_so() -> Result<()> {
    let mut scene = Scene::new()?;
    for value in 1..=crate::shm::wait_table::RECORDS as u64 + 2 {
        scene.notes.push(scene.fences[0].record_wait(scene.queues[0], value));
    }
    assert!(
        scene
            .text()?
            .contains("\nnot complete: 2 notes found no room, so promises may be missing\n")
    );
    Ok(())
}

#[test]
fn a_wait_counts_that_stood_all_the_time_and_a_promise_that_was_ever_there() -> Result<()> {
    let scene = Scene::new()?;
    let pages = [scene.page.clone()];
    let said = |notes: &[Noted]| {
        let mut said: Vec<_> =
            notes.iter().map(|noted| (noted.1.role == Role::Signal, noted.1.value)).collect();
        said.sort_unstable();
        said
    };
    let [queue, other] = scene.queues;
    let _stays = (scene.fences[0].record_wait(queue, 1), scene.fences[0].record_signal(queue, 2));
    let (wait, promise) =
        (scene.fences[1].record_wait(other, 3), scene.fences[1].record_signal(other, 4));
    let first = read(&pages)?;
    // The same record may be used for the same again: it is another wait.
    drop((wait, promise));
    let _again = (scene.fences[1].record_wait(other, 3), scene.fences[1].record_signal(other, 5));
    let second = read(&pages)?;
    assert_eq!(said(&first), [(false, 1), (false, 3), (true, 2), (true, 4)]);
    assert_eq!(said(&second), [(false, 1), (false, 3), (true, 2), (true, 5)]);
    assert_eq!(said(&notes(first, second)?), [(false, 1), (true, 2), (true, 4), (true, 5)]);
    Ok(())
}

/// Runs once more, by itself, where LIBUMF_DEBUG is set.
#[test]
fn a_queue_that_closes_a_circle_says_so_once() -> Result<()> {
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
    let name = "diagnostics::graph::tests::a_queue_that_closes_a_circle_says_so_once";
    let again = std::env::current_exe().and_then(|program| {
        std::process::Command::new(program)
            .args(["--exact", name, "--nocapture"])
            .env("LIBUMF_DEBUG", "1")
            .output()
    });
    let said = again
        .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
        .unwrap_or_default();
    assert_eq!(said.matches("deadlock 1:\n  queue ").count(), 1, "{said}");
    Ok(())
}
