use super::*;
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn lines_appear_promptly_and_in_order() {
    let path = place("prompt");
    let world = world(&path, 64);
    world.lines.push(b"one\n".to_vec());
    until(|| read(&path) == "one\n");
    world.lines.push(b"two\n".to_vec());
    world.lines.push(b"three\n".to_vec());
    assert!(world.writer.flush_and_stop(PATIENCE));
    assert_eq!(read(&path), "one\ntwo\nthree\n");
    assert_eq!(
        fs::metadata(&*path).unwrap().permissions().mode() & 0o137,
        0
    );
    assert_eq!(world.lost.load(Ordering::SeqCst), 0);
}

#[test]
fn a_full_queue_costs_lines_and_no_time() {
    let (path, reader) = fifo("full");
    let world = world(&path, 4);
    // The reader does not read: the pipe takes 64 KiB, one batch waits at its door, four more lines in the queue.
    let line = [vec![b'x'; 32 * 1024], vec![b'\n']].concat();
    let pushed = 40;
    let begun = Instant::now();
    for _ in 0..pushed {
        world.lines.push(line.clone());
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    let lost = world.lost.load(Ordering::SeqCst);
    assert!((1..pushed).contains(&lost), "{lost}");
    assert!(
        !world.writer.flush_and_stop(Duration::from_millis(50)),
        "a pipe that nobody reads can't be flushed"
    );
    drop(reader);
}

#[test]
fn every_line_is_written_or_counted() {
    let (path, reader) = fifo("counted");
    let world = world(&path, 4);
    let reading = thread::spawn(move || io::read_to_string(reader).unwrap());
    let pushed = 5_000;
    for number in 0..pushed {
        world.lines.push(format!("{number}\n").into_bytes());
    }
    assert!(world.writer.flush_and_stop(PATIENCE));
    let lost = world.lost.load(Ordering::SeqCst);
    let text = reading.join().unwrap();
    assert_eq!(text.lines().count() as u64 + lost, pushed);
}

#[test]
fn after_a_rotation_lines_go_to_the_new_file() {
    let path = place("rotated");
    let world = world(&path, 64);
    world.lines.push(b"old\n".to_vec());
    until(|| read(&path) == "old\n");
    let away = path.with_extension("1");
    fs::rename(&*path, &away).unwrap();
    world.lines.reopen();
    until(|| path.exists());
    world.lines.push(b"new\n".to_vec());
    until(|| read(&path) == "new\n");
    assert_eq!(read(&away), "old\n");
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    world.lines.reopen();
    world.lines.push(b"still\n".to_vec());
    assert!(world.writer.flush_and_stop(PATIENCE));
    assert_eq!(
        world.lost.load(Ordering::SeqCst),
        0,
        "an unopenable file leaves the old one in use"
    );
}

#[test]
fn a_full_disk_costs_the_lines_it_did_not_take() {
    let world = world(Path::new("/dev/full"), 64);
    world.lines.push(b"one\n".to_vec());
    until(|| world.lost.load(Ordering::SeqCst) == 1);
    world.lines.push(b"two\n".to_vec());
    until(|| world.lost.load(Ordering::SeqCst) == 2);
    assert!(world.lines.state.losing.load(Ordering::SeqCst));
    assert!(world.writer.flush_and_stop(PATIENCE));
}

#[test]
fn a_stump_of_an_earlier_life_gets_its_line_end() {
    let path = place("part");
    fs::write(&*path, "stump").unwrap();
    let world = world(&path, 64);
    world.lines.push(b"whole\n".to_vec());
    assert!(world.writer.flush_and_stop(PATIENCE));
    assert_eq!(read(&path), "stump\nwhole\n");
}

#[test]
fn a_trouble_is_over_when_lines_are_written_again() {
    let (path, reader) = fifo("again");
    let world = world(&path, 64);
    drop(reader);
    world.lines.push(b"lost\n".to_vec());
    until(|| world.lost.load(Ordering::SeqCst) == 1);
    assert!(world.lines.state.losing.load(Ordering::SeqCst));
    let reader = open_reader(&path);
    // A thread of its own sees that lines are written again; how many it takes is for the clock to say.
    until(|| {
        world.lines.push(b"kept\n".to_vec());
        thread::yield_now();
        !world.lines.state.losing.load(Ordering::SeqCst)
    });
    assert!(world.writer.flush_and_stop(PATIENCE));
    assert!(io::read_to_string(reader).unwrap().starts_with("kept\n"));
}

struct World {
    lines: Lines,
    writer: LineWriter,
    lost: Arc<AtomicU64>,
}

fn world(path: &Path, queue_lines: usize) -> World {
    let lost = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&lost);
    let on_drop = move |lines| {
        count.fetch_add(lines, Ordering::SeqCst);
    };
    let sink = Sink::file(path).unwrap();
    let calm = Duration::from_millis(1);
    let (lines, writer) = start_with_calm("test", sink, queue_lines, on_drop, calm).unwrap();
    World {
        lines,
        writer,
        lost,
    }
}

/// A file of this test's own, in a directory that goes with it.
struct Place(PathBuf);

impl Deref for Place {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn place(name: &str) -> Place {
    let dir = std::env::temp_dir().join(format!("tidegate-lines-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    Place(dir.join("log"))
}

fn fifo(name: &str) -> (Place, fs::File) {
    let path = place(name);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &*path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let reader = open_reader(&path);
    (path, reader)
}

/// Opens for reading without waiting for a writer; reads wait all the same.
fn open_reader(path: &Path) -> fs::File {
    use rustix::fs::{Mode, OFlags};
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    rustix::fs::fcntl_setfl(&fd, OFlags::empty()).unwrap();
    fs::File::from(fd)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Waits for the event itself; the writer is a real thread, whose clock can't be paused.
fn until(mut come: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !come() {
        assert!(begun.elapsed() < PATIENCE, "it never came");
        thread::yield_now();
    }
}
