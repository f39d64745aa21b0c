"""An Android app that names garments on pictures: Toga draws, edgert answers."""
