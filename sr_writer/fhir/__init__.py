"""Parts of the FHIR bundle: elements, what they are called, observations, resources around them."""
