"""What leaves the house: networks as the images that train them, packed in bytes."""
