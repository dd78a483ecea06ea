// Continues a prompt, from Rust: rustc continue_text.rs && ./continue_text MODEL PROMPT
use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr::null_mut;

#[repr(C)]
struct GenerateOptions { size: usize, max_tokens: i64, temperature: f64 } // a beginning of the struct is enough

#[link(name = "tinylm")]
extern "C" {
    fn tlm_error_message() -> *const c_char;
    fn tlm_free(memory: *mut c_void);
    fn tlm_model_free(model: *mut c_void);
    fn tlm_tokenizer_free(tokenizer: *mut c_void);
    fn tlm_model_open(model: *mut *mut c_void, tokenizer: *mut *mut c_void, file: *mut c_void, path: *const c_char) -> i32;
    fn tlm_tokenizer_encode(ids: *mut *mut u32, n: *mut usize, tokenizer: *const c_void, text: *const c_char, size: usize) -> i32;
    fn tlm_tokenizer_decode_text(text: *mut *mut c_char, size: *mut usize, tokenizer: *const c_void, ids: *const u32, n: usize) -> i32;
    fn tlm_model_generate(ids: *mut *mut u32, n: *mut usize, model: *mut c_void, prompt: *const u32, prompt_size: usize,
                          options: *const GenerateOptions, on_token: Option<extern "C" fn(*mut c_void, u32) -> i32>, user: *mut c_void) -> i32;
}

fn check(status: i32) -> Result<(), String> {
    if status == 0 { Ok(()) } else { Err(unsafe { CStr::from_ptr(tlm_error_message()) }.to_string_lossy().into_owned()) }
}

fn main() -> Result<(), String> {
    let arguments: Vec<CString> = std::env::args().map(|each| CString::new(each).unwrap()).collect();
    let (path, prompt) = (&arguments[1], &arguments[2]);
    let options = GenerateOptions { size: size_of::<GenerateOptions>(), max_tokens: 20, temperature: 0.0 };
    let (mut model, mut tokenizer, mut ids, mut more, mut text) = (null_mut(), null_mut(), null_mut(), null_mut(), null_mut());
    let (mut n, mut num_more, mut size) = (0, 0, 0);
    unsafe {
        check(tlm_model_open(&mut model, &mut tokenizer, null_mut(), path.as_ptr()))?;
        check(tlm_tokenizer_encode(&mut ids, &mut n, tokenizer, prompt.as_ptr(), prompt.count_bytes()))?;
        check(tlm_model_generate(&mut more, &mut num_more, model, ids, n, &options, None, null_mut()))?;
        check(tlm_tokenizer_decode_text(&mut text, &mut size, tokenizer, more, num_more))?;
        println!("{}{}", prompt.to_string_lossy(), CStr::from_ptr(text).to_string_lossy());
        for memory in [ids.cast(), more.cast(), text.cast::<c_void>()] { tlm_free(memory); }
        tlm_tokenizer_free(tokenizer);
        tlm_model_free(model);
    }
    Ok(())
}
