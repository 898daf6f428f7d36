"""What a person sees: reads run folders, never torch."""
