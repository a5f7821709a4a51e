package train

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// protectedGram is how many words in a row give a text away; one that is shorter but has shortest words is compared as a whole.
const (
	protectedGram = 13
	shortest      = 5
)

// Protected are the texts of public benchmarks' tests, which no row may share words with: sorted beginnings of the hashes of every 13 words in a row.
type Protected []uint64

// LoadProtected reads the folder of the repository's data.
func LoadProtected(dir string) (Protected, error) {
	f, err := os.Open(filepath.Join(dir, "decontam", "protected_13gram_sha256_64.u64be.gz"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var p Protected
	r := bufio.NewReader(z)
	for {
		var b [8]byte
		if _, err := io.ReadFull(r, b[:]); errors.Is(err, io.EOF) {
			return p, nil
		} else if err != nil {
			return nil, err
		}
		p = append(p, binary.BigEndian.Uint64(b[:]))
	}
}

// Holds reports whether a text shares thirteen words in a row with a protected one, or is one, and which words.
func (p Protected) Holds(text string) (string, bool) {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	n := min(len(words), protectedGram)
	if n < shortest {
		return "", false
	}
	for i := range len(words) - n + 1 {
		gram := strings.Join(words[i:i+n], " ")
		sum := sha256.Sum256([]byte(gram))
		if _, found := slices.BinarySearch(p, binary.BigEndian.Uint64(sum[:8])); found {
			return gram, true
		}
	}
	return "", false
}
