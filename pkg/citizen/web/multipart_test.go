package web

import (
	"bytes"
	"errors"
	"net/http"
	"testing"

	"beffroi.dev/pkg/citizen/photo"
)

func FuzzReadForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", []byte("a=1&b=%C3%A9"))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"p\"\r\n\r\n\xff\xd8\r\n--x--\r\n"))
	f.Add("text/plain", []byte("a"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		q, err := http.NewRequest("POST", "/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", kind)
		v := &visit{Request: q}
		s, err := v.readForm("photo")
		if err != nil && !errors.Is(err, errBadForm) {
			t.Fatalf("%v is no fault of the form", err)
		}
		words := 0
		for _, vs := range s.values {
			for _, v := range vs {
				words += len(v)
			}
		}
		if words > maxWords || len(s.file) > photo.MaxBytes {
			t.Fatalf("kept %d bytes of text and %d of photo", words, len(s.file))
		}
	})
}
