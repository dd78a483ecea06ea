// Continues a prompt, from Go: go run continue_text.go MODEL PROMPT
package main

// #cgo pkg-config: tinylm
// #include <stdlib.h>
// #include <tinylm/tinylm.h>
import "C"

import (
	"fmt"
	"log"
	"os"
	"unsafe"
)

func check(status C.tlm_status_t) {
	if status != C.TLM_OK {
		log.Fatal(C.GoString(C.tlm_error_message())) // from the thread of the call: see runtime.LockOSThread
	}
}

func main() {
	var model *C.tlm_model_t
	var tokenizer *C.tlm_tokenizer_t
	var ids, more *C.uint32_t
	var text *C.char
	var n, numMore, size C.size_t
	var options C.tlm_generate_options_t
	path, prompt := C.CString(os.Args[1]), C.CString(os.Args[2])
	name := C.CString("tlm_generate_options_t")
	check(C.tlm_options_init(unsafe.Pointer(&options), C.sizeof_tlm_generate_options_t, name))
	options.max_tokens = 20
	check(C.tlm_model_open(&model, &tokenizer, nil, path))
	check(C.tlm_tokenizer_encode(&ids, &n, tokenizer, unsafe.Pointer(prompt), C.size_t(len(os.Args[2]))))
	check(C.tlm_model_generate(&more, &numMore, model, ids, n, &options, nil, nil))
	check(C.tlm_tokenizer_decode_text(&text, &size, tokenizer, more, numMore))
	fmt.Printf("%s%s\n", os.Args[2], C.GoStringN(text, C.int(size)))
	for _, memory := range []unsafe.Pointer{unsafe.Pointer(ids), unsafe.Pointer(more), unsafe.Pointer(text)} {
		C.tlm_free(memory)
	}
	for _, memory := range []*C.char{path, prompt, name} {
		C.free(unsafe.Pointer(memory))
	}
	C.tlm_tokenizer_free(tokenizer)
	C.tlm_model_free(model)
}
