package queue

// Class says how urgent a request is. What is least urgent is shed first.
type Class uint8

// The classes, the least urgent first.
const (
	Batch Class = iota
	Sheddable
	Default
	Critical
	classes
)

var classNames = [classes]string{Batch: "batch", Sheddable: "sheddable", Default: "default", Critical: "critical"}

// String names the class as policies and clients do.
func (c Class) String() string { return classNames[c] }

// ClassOf returns the class of a name; false when there is none.
func ClassOf(name string) (Class, bool) {
	for c, n := range classNames {
		if n == name {
			return Class(c), true
		}
	}
	return Default, false
}

// shares is how much of a limit, in percent, may be in use when a request of the class comes: room that is kept for what is more urgent.
var shares = [classes]int64{Batch: 70, Sheddable: 85, Default: 95, Critical: 100}

// Share returns the class's part of a limit, at least 1.
func (c Class) Share(limit int64) int64 {
	return max(1, (limit*shares[c]+99)/100)
}
