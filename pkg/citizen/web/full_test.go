package web_test

import (
	"context"
	"testing"

	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/store"
)

func TestAFullVolumeIsToldAsSuchAndCasesStayReadable(t *testing.T) {
	r := newRig(t, nil)
	code := r.send(casefile.NewToken(), good(), nil).code(t)
	fill := func(size int) { // leaves less than size free
		for i := 0; ; i++ {
			err := r.st.Write(t.Context(), "fill", func(ctx context.Context, tx *store.Tx) error {
				b := make([]byte, size)
				b[0], b[1], b[2] = byte(i), byte(i>>8), byte(size>>12)
				_, err := tx.Put(ctx, b, "ballast")
				return err
			})
			if err != nil {
				return
			}
		}
	}
	for size := 1 << 20; size >= 4096; size /= 16 {
		fill(size)
	}
	r.send(casefile.NewToken(), good(), jpegOf(t, 800, 600)).want(t, 507, "est plein", "pas été enregistré")
	r.get("/suivi/"+code).want(t, 200, "12 rue de la Poste")
	if err := r.st.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}
