package train

import (
	"fmt"
	"io"
)

// Diagram writes a reliability diagram: how often the class is right, by how sure it is. Bars on the line are what the probabilities promise.
func Diagram(w io.Writer, bins [10]bin) error {
	const side, pad = 300, 40
	if _, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">
<rect width="100%%" height="100%%" fill="white"/>
`, side+2*pad, side+2*pad); err != nil {
		return err
	}
	for i, b := range bins {
		if b.n == 0 {
			continue
		}
		height := b.right / b.n * side
		if _, err := fmt.Fprintf(w, "<rect x=\"%d\" y=\"%.1f\" width=\"26\" height=\"%.1f\" fill=\"#4a7ebb\"/>\n<text x=\"%d\" y=\"%.1f\" text-anchor=\"middle\">%.0f</text>\n",
			pad+30*i+2, pad+side-height, height, pad+30*i+15, pad+side-height-4, b.n); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, `<path d="M%d %d L%d %d M%d %d V%d H%d" fill="none" stroke="#333"/>
<text x="%d" y="%d" text-anchor="middle">probability of the class, 0 to 1; above the bars the number of prompts</text>
<text x="12" y="%d" transform="rotate(-90 12 %d)" text-anchor="middle">share that is right</text>
</svg>
`, pad, pad+side, pad+side, pad, pad, pad, pad+side, pad+side, pad+side/2, side+2*pad-12, pad+side/2, pad+side/2)
	return err
}
