//! The lines of `-i`, as rsync prints them with `%i %n%L`.

use bascule_engine::observe::Item;
use bascule_wire::flist::Kind;
use bascule_wire::record::ItemFlags;

/// One change as a line without its end.
pub fn line(item: &Item<'_>) -> String {
    let mut text = codes(item);
    text.push(' ');
    text.push_str(&name(item.path, item.kind == Kind::Directory));
    if let Some(target) = item.linked_to.filter(|target| !target.is_empty()) {
        text.push_str(" => ");
        text.push_str(&shown(target));
    } else if let Some(link) = item.link {
        text.push_str(" -> ");
        text.push_str(&shown(link));
    }
    text
}

/// A deletion as a line without its end.
pub fn deletion(path: &[u8], kind: Kind) -> String {
    format!("*deleting   {}", name(path, kind == Kind::Directory))
}

fn name(path: &[u8], is_dir: bool) -> String {
    let mut text = shown(path);
    if is_dir {
        text.push('/');
    }
    text
}

fn codes(item: &Item<'_>) -> String {
    let flags = item.flags;
    let has = |flag: ItemFlags| flags.contains(flag);
    let update = if has(ItemFlags::LOCAL_CHANGE) {
        if has(ItemFlags::XNAME_FOLLOWS) { 'h' } else { 'c' }
    } else if !flags.is_transfer() {
        '.'
    } else if item.sent {
        '<'
    } else {
        '>'
    };
    let kind = match item.kind {
        Kind::File => 'f',
        Kind::Directory => 'd',
        Kind::Symlink => 'L',
        Kind::BlockDevice | Kind::CharDevice => 'D',
        Kind::Fifo | Kind::Socket => 'S',
    };
    if has(ItemFlags::IS_NEW) {
        return format!("{update}{kind}+++++++++");
    }
    let is_link = item.kind == Kind::Symlink;
    let letter = |set: bool, letter: char| if set { letter } else { '.' };
    let time = match (has(ItemFlags::REPORT_TIME), is_link && has(ItemFlags::REPORT_SIZE)) {
        (false, _) => '.',
        (true, true) => 'T',
        (true, false) => 't',
    };
    let access = match (has(ItemFlags::REPORT_ATIME), has(ItemFlags::REPORT_CRTIME)) {
        (true, true) => 'b',
        (true, false) => 'u',
        (false, true) => 'n',
        (false, false) => '.',
    };
    let nine: String = [
        letter(has(ItemFlags::REPORT_CHANGE), 'c'),
        letter(!is_link && has(ItemFlags::REPORT_SIZE), 's'),
        time,
        letter(has(ItemFlags::REPORT_PERMS), 'p'),
        letter(has(ItemFlags::REPORT_OWNER), 'o'),
        letter(has(ItemFlags::REPORT_GROUP), 'g'),
        access,
        letter(has(ItemFlags::REPORT_ACL), 'a'),
        letter(has(ItemFlags::REPORT_XATTR), 'x'),
    ]
    .iter()
    .collect();
    let says_nothing = nine.bytes().all(|byte| byte == b'.');
    let blank = matches!(update, '.' | 'h') || (update == 'c' && kind == 'f');
    if says_nothing && blank {
        format!("{update}{kind}         ")
    } else {
        format!("{update}{kind}{nine}")
    }
}

/// A name for a terminal: printable text as it is, other bytes as `\#ooo`.
pub(crate) fn shown(name: &[u8]) -> String {
    escaped(name, |_| false)
}

/// A peer's text for a terminal, without its last line end: nothing that could steer the terminal.
pub(crate) fn printable(text: &[u8]) -> String {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

fn escaped(name: &[u8], passes: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() && !passes(character) {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    text.push_str(&format!("\\#{byte:03o}"));
                }
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\#{byte:03o}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(flags: u16, kind: Kind, sent: bool) -> Item<'static> {
        let link = (kind == Kind::Symlink).then_some(&b"a.txt"[..]);
        Item { flags: ItemFlags(flags), kind, path: b"n", link, linked_to: None, sent }
    }

    #[test]
    fn prints_what_rsync_prints() {
        assert_eq!(line(&item(0xa000, Kind::File, true)), "<f+++++++++ n");
        assert_eq!(line(&item(0xa000, Kind::File, false)), ">f+++++++++ n");
        assert_eq!(line(&item(0x800c, Kind::File, false)), ">f.st...... n");
        assert_eq!(line(&item(0x0008, Kind::Directory, false)), ".d..t...... n/");
        assert_eq!(line(&item(0x6000, Kind::Directory, true)), "cd+++++++++ n/");
        assert_eq!(line(&item(0x6002, Kind::Symlink, true)), "cL+++++++++ n -> a.txt");
        assert_eq!(line(&item(0x400a, Kind::Symlink, true)), "cLc.t...... n -> a.txt");
        assert_eq!(line(&item(0x0010, Kind::File, true)), ".f...p..... n");
        assert_eq!(line(&item(0, Kind::File, true)), ".f          n");
        let linked = Item { linked_to: Some(b"h1"), ..item(0x7000, Kind::File, true) };
        assert_eq!(line(&linked), "hf+++++++++ n => h1");
        assert_eq!(deletion(b"d", Kind::Directory), "*deleting   d/");
        assert_eq!(deletion(b"a\nb\xff", Kind::File), "*deleting   a\\#012b\\#377");
        assert_eq!(printable(b"a\n\x1b[31mb\n"), "a\n\\#033[31mb");
    }
}
