//! Secret files whose content is encrypted for this machine: a line that says so, and hexadecimal
//! digits.

use std::io;

use zeroize::Zeroizing;

/// The line that such a file begins with.
const MARK: &str = "bascule sealed by DPAPI\n";

/// Whether this is the content of such a file.
pub fn is_sealed(content: &[u8]) -> bool {
    content.starts_with(MARK.trim_end().as_bytes())
}

/// The content of a file with this secret, for this machine alone.
///
/// # Errors
/// On another system than Windows, and what Windows says.
pub fn seal(secret: &[u8]) -> io::Result<String> {
    let digits: String = protect(secret)?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{MARK}{digits}\n"))
}

/// The secret in the content of such a file; any other content is the secret itself.
///
/// # Errors
/// When it was not made by this machine, or was changed.
pub fn open(content: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
    if !is_sealed(&content) {
        return Ok(content);
    }
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it was sealed, and is damaged");
    let digits: Vec<u8> = content[MARK.trim_end().len()..].trim_ascii().to_vec();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    let sealed: Vec<u8> = pairs.collect::<Option<_>>().ok_or_else(damaged)?;
    unprotect(&sealed)
}

#[cfg(windows)]
use super::dpapi::protect;

#[cfg(windows)]
fn unprotect(sealed: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    super::dpapi::unprotect(sealed).map_err(|error| {
        let text = format!("it was sealed on another machine, or is damaged: {error}");
        io::Error::new(error.kind(), text)
    })
}

#[cfg(not(windows))]
fn protect(_secret: &[u8]) -> io::Result<Vec<u8>> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "only Windows seals secrets; here a file of mode 600 or a credential of systemd holds them",
    ))
}

#[cfg(not(windows))]
fn unprotect(_sealed: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "it was sealed on a Windows machine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_sealed_is_the_secret() {
        let plain = Zeroizing::new(b"password\n".to_vec());
        assert_eq!(open(plain.clone()).expect("as it is"), plain);
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        for content in ["bascule sealed by DPAPI\nxy\n", "bascule sealed by DPAPI\n0\n"] {
            let error = open(Zeroizing::new(content.into())).expect_err("refused");
            assert!(error.to_string().contains("damaged"), "{error}");
        }
        let foreign = open(Zeroizing::new(b"bascule sealed by DPAPI\n0011\n".to_vec()));
        let error = foreign.expect_err("refused").to_string();
        assert!(error.contains("sealed on a"), "{error}");
    }

    #[cfg(windows)]
    #[test]
    fn only_the_secret_itself_comes_back() {
        let secret = b"a password with \xc3\xa9 and a line\r\n";
        let sealed = seal(secret).expect("sealed");
        assert!(is_sealed(sealed.as_bytes()) && !sealed.contains("password"), "{sealed}");
        // Editors end lines in their own way.
        for content in [sealed.clone(), sealed.replace('\n', "\r\n")] {
            let opened = open(Zeroizing::new(content.into())).expect("opened");
            assert_eq!(opened.as_slice(), secret);
        }
    }

    #[cfg(not(windows))]
    #[test]
    fn other_systems_say_what_to_take() {
        let error = seal(b"x").expect_err("refused").to_string();
        assert!(error.contains("mode 600"), "{error}");
    }
}
