package web

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"

	"beffroi.dev/pkg/citizen/photo"
)

const (
	// maxWords bounds all text fields of one form together.
	maxWords = 64 << 10
	// maxParts bounds the parts of one form.
	maxParts = 100
	// maxDrain is how much of a photo beyond its limit is read and dropped, so
	// that the browser comes to the end of its form and can be told why. Beyond
	// it the connection is cut.
	maxDrain = 64 << 20
)

// sent is a form as it arrived.
type sent struct {
	values  url.Values
	file    []byte // nil: none was chosen
	tooLong bool   // a file was, but beyond the limit
}

// readForm reads a form of either encoding. The text comes first in our forms,
// so that nothing the citizen typed is lost when the photo is refused.
func (v *visit) readForm(fileField string) (sent, error) {
	s := sent{values: url.Values{}}
	kind, params, err := mime.ParseMediaType(v.Header.Get("Content-Type"))
	if err != nil {
		return s, fmt.Errorf("%w: %w", errBadForm, err)
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		b, err := io.ReadAll(io.LimitReader(v.Body, maxWords+1))
		if err != nil {
			return s, fmt.Errorf("%w: %w", errBadForm, err)
		}
		if len(b) > maxWords {
			return s, fmt.Errorf("%w: more than %d bytes of text", errBadForm, maxWords)
		}
		if s.values, err = url.ParseQuery(string(b)); err != nil {
			return s, fmt.Errorf("%w: %w", errBadForm, err)
		}
		return s, nil
	case "multipart/form-data":
		return s, s.readParts(multipart.NewReader(io.LimitReader(v.Body, maxDrain), params["boundary"]), fileField)
	}
	return s, fmt.Errorf("%w: %s", errBadForm, kind)
}

func (s *sent) readParts(r *multipart.Reader, fileField string) error {
	words := 0
	for n := 0; ; n++ {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errBadForm, err)
		}
		if n >= maxParts {
			return fmt.Errorf("%w: more than %d parts", errBadForm, maxParts)
		}
		if part.FileName() != "" || part.FormName() == fileField {
			if err := s.readFile(part, fileField); err != nil {
				return err
			}
			continue
		}
		b, err := io.ReadAll(io.LimitReader(part, int64(maxWords-words)+1))
		if err != nil {
			return fmt.Errorf("%w: %w", errBadForm, err)
		}
		if words += len(b); words > maxWords {
			return fmt.Errorf("%w: more than %d bytes of text", errBadForm, maxWords)
		}
		s.values.Add(part.FormName(), string(b))
	}
}

// readFile keeps a file up to the limit and drops the rest.
func (s *sent) readFile(part *multipart.Part, fileField string) error {
	if part.FormName() != fileField || s.file != nil || s.tooLong {
		_, err := io.Copy(io.Discard, part)
		return wrapBadForm(err)
	}
	b, err := io.ReadAll(io.LimitReader(part, photo.MaxBytes+1))
	if err != nil {
		return wrapBadForm(err)
	}
	switch {
	case len(b) > photo.MaxBytes:
		s.tooLong = true
		_, err := io.Copy(io.Discard, part)
		return wrapBadForm(err)
	case len(b) > 0: // a browser sends an empty file when none was chosen
		s.file = b
	}
	return nil
}

func wrapBadForm(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errBadForm, err)
}
